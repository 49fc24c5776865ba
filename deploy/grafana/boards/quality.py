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
                    "Share of translated vectors below the least confidence: pictures or people unlike those of the training.",
                    "percentunit",
                    (
                        Query(
                            share(
                                rate("low_confidence_vectors_total", "source, target"),
                                rate("translated_vectors_total", "source, target"),
                            ),
                            "{{source}} to {{target}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Features are what they claim to be",
            (
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
                    (Query(rate("space_alarms_total", "tenant", "space"), "{{tenant}} {{space}}"),),
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
