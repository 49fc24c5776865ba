"""How good its answers are, and whether what comes in is what it was."""

from deploy.grafana.panels import Board, Graph, Query, Row, rate, share

QUALITY = Board(
    "facebridge-quality",
    "translation quality and drift",
    (
        Row(
            "Translations, and how far they can be trusted",
            (
                Graph(
                    "Translated vectors",
                    "By route.",
                    "short",
                    (Query(rate("translated_vectors_total", "source, target"), "{{source}} to {{target}}"),),
                ),
                Graph(
                    "Little confidence",
                    "Share below the least confidence, of vectors whose confidence was looked at: unlike those of the training.",
                    "percentunit",
                    (
                        Query(
                            share(
                                rate("low_confidence_vectors_total", "source, target"),
                                rate("judged_vectors_total", "source, target"),
                            ),
                            "{{source}} to {{target}}",
                        ),
                    ),
                ),
                Graph(
                    "Not let in",
                    "Requests that were refused: trusted too little, of too short a feature, of a face with another name.",
                    "reqps",
                    (
                        Query(
                            rate("problems_total", "type", '{type=~"low-confidence|low-norm|duplicate-subject"}'),
                            "{{type}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Features are what they claim to be",
            (
                Graph(
                    "Of another space",
                    "Requests that were refused: nothing leads from one space to the other, or a space is suspected.",
                    "reqps",
                    (
                        Query(
                            rate("problems_total", "type", '{type=~"space-mismatch|no-route|space-suspected"}'),
                            "{{type}}",
                        ),
                    ),
                ),
                Graph(
                    "Suspected spaces",
                    "1 where what arrives under a space's name does not look like it.",
                    "short",
                    (Query("max by (tenant, space) (facebridge_space_suspected)", "{{tenant}} {{space}}"),),
                ),
                Graph(
                    "How far streams are off",
                    "The last faces of a space together, over what hardly any stream of it is: 1 raises an alarm.",
                    "short",
                    (Query("max by (tenant, space) (facebridge_space_stream_score)", "{{tenant}} {{space}}"),),
                ),
                Graph(
                    "Outliers",
                    "Share of the last 200 features that are like hardly any of their space.",
                    "percentunit",
                    (Query("max by (tenant, space) (facebridge_space_outlier_share)", "{{tenant}} {{space}}"),),
                ),
                Graph(
                    "Alarms",
                    "Times that a space became suspected.",
                    "short",
                    (Query(rate("space_alarms_total", "tenant, space"), "{{tenant}} {{space}}"),),
                ),
            ),
        ),
        Row(
            "Decisions at stated rates, and an honest nobody",
            (
                Graph(
                    "Decisions",
                    "By what was decided.",
                    "reqps",
                    (Query(rate("decisions_total", "decision"), "{{decision}}"),),
                ),
                Graph(
                    "Nobody",
                    "Share of searched probes that are of nobody: a shift tells of other people, or of worse pictures.",
                    "percentunit",
                    (
                        Query(
                            share(
                                rate("decisions_total", "tenant", '{decision="nobody"}'),
                                rate("decisions_total", "tenant", '{decision=~"match|nobody"}'),
                            ),
                            "{{tenant}}",
                        ),
                    ),
                ),
                Graph(
                    "Rates that were not measured",
                    "Requests for a decision at a rate for which there is no threshold.",
                    "reqps",
                    (Query(rate("problems_total", where='{type="no-operating-point"}'), "refused"),),
                ),
                Graph(
                    "Flagged",
                    "Probes whose translation can be trusted less.",
                    "reqps",
                    (Query(rate("decisions_total", "tenant", '{decision="flagged"}'), "{{tenant}}"),),
                ),
            ),
        ),
        Row(
            "What is near is found",
            (
                Graph(
                    "Recall of indexes",
                    "Share of the ten nearest templates that is found, measured on templates; 1 where all are looked at.",
                    "percentunit",
                    (Query("min by (tenant, gallery) (facebridge_index_recall)", "{{tenant}} {{gallery}}"),),
                ),
            ),
        ),
    ),
)
