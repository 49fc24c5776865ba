"""Galleries, and those on their way to another encoder."""

from deploy.grafana.panels import Board, Graph, Query, Row, quantile, rate, share

_ERASURES = '{route="/galleries/{gallery}/erasures"}'
_ORDERS = "gates-failed|job-state|migration-in-progress|rollback-incomplete|rollback-expired|generation-changed"
GALLERIES = Board(
    "facebridge-galleries",
    "galleries and migrations",
    (
        Row(
            "Galleries",
            (
                Graph(
                    "Templates",
                    "",
                    "short",
                    (Query("max by (tenant, gallery) (facebridge_gallery_templates)", "{{tenant}} {{gallery}}"),),
                ),
                Graph(
                    "Subjects",
                    "",
                    "short",
                    (Query("max by (tenant, gallery) (facebridge_gallery_subjects)", "{{tenant}} {{gallery}}"),),
                ),
                Graph(
                    "Enrolled",
                    "Templates a second.",
                    "short",
                    (Query(rate("enrolled_templates_total", "tenant, gallery"), "{{tenant}} {{gallery}}"),),
                ),
                Graph(
                    "Probes",
                    "A second.",
                    "short",
                    (Query(rate("probes_total", "tenant, gallery"), "{{tenant}} {{gallery}}"),),
                ),
                Graph(
                    "Searched beside an index",
                    "Templates that came after it.",
                    "short",
                    (
                        Query(
                            "max by (tenant, gallery) (facebridge_gallery_templates - facebridge_index_templates)",
                            "{{tenant}} {{gallery}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "What is acknowledged is on disk",
            (
                Graph(
                    "Writing",
                    "95 % of enrolments wait less for the disk.",
                    "s",
                    (Query(quantile(0.95, "stage_seconds", "", '{stage="record"}'), "95 %"),),
                ),
                Graph(
                    "Writes that were refused",
                    "A full disk, a failed sync, damage.",
                    "reqps",
                    (
                        Query(
                            rate(
                                "problems_total",
                                "type",
                                '{type=~"insufficient-storage|read-only|not-recorded|record-damaged"}',
                            ),
                            "{{type}}",
                        ),
                    ),
                ),
                Graph(
                    "Can be written to",
                    "1 where it can.",
                    "short",
                    (Query("min by (tenant) (facebridge_writable)", "{{tenant}}"),),
                ),
                Graph(
                    "Not done twice",
                    "Writes that were refused: the same one is under way, or their Idempotency-Key was another one's.",
                    "reqps",
                    (Query(rate("problems_total", "type", '{type=~"idempotency-key-.*"}'), "{{type}}"),),
                ),
            ),
        ),
        Row(
            "Who is erased is gone",
            (
                Graph(
                    "Erasures",
                    "By what came of them: complete when no file holds a piece of a vector any more.",
                    "reqps",
                    (Query(rate("erasures_total", "outcome"), "{{outcome}}"),),
                ),
                Graph(
                    "How long they take",
                    "95 % are faster: every file of the data folder is looked through.",
                    "s",
                    (Query(quantile(0.95, "request_seconds", "", _ERASURES), "95 %"),),
                ),
            ),
        ),
        Row(
            "A gallery goes to another encoder while it answers",
            (
                Graph(
                    "Jobs",
                    "By state.",
                    "short",
                    (Query("sum by (tenant, state) (facebridge_jobs)", "{{tenant}} {{state}}"),),
                ),
                Graph(
                    "Progress",
                    "Share of templates that are in the new generation.",
                    "percentunit",
                    (
                        Query(
                            share(
                                'max by (tenant, gallery) (facebridge_migration_templates{what="done"})',
                                'max by (tenant, gallery) (facebridge_migration_templates{what="total"})',
                            ),
                            "{{tenant}} {{gallery}}",
                        ),
                    ),
                ),
                Graph(
                    "Translated",
                    "Templates a second.",
                    "short",
                    (Query(rate("migrated_templates_total", "tenant, gallery"), "{{tenant}} {{gallery}}"),),
                ),
                Graph(
                    "Time left",
                    "As fast as it goes now.",
                    "s",
                    (Query("max by (tenant, gallery) (facebridge_migration_seconds_left)", "{{tenant}} {{gallery}}"),),
                ),
                Graph(
                    "Not translated",
                    "Templates for which there is no way into the new space.",
                    "short",
                    (
                        Query(
                            'max by (tenant, gallery) (facebridge_migration_templates{what="failed"})',
                            "{{tenant}} {{gallery}}",
                        ),
                    ),
                ),
                Graph(
                    "Orders that were refused",
                    "Cut-overs whose gates were not passed, and what else could not be done as a job stands.",
                    "reqps",
                    (Query(rate("problems_total", "type", f'{{type=~"{_ORDERS}"}}'), "{{type}}"),),
                ),
                Graph(
                    "Active generation",
                    "",
                    "short",
                    (Query("max by (tenant, gallery) (facebridge_gallery_generation)", "{{tenant}} {{gallery}}"),),
                ),
                Graph(
                    "Generations beside",
                    "Being built, or kept to go back to.",
                    "short",
                    (
                        Query(
                            "max by (tenant, gallery, state) (facebridge_gallery_generations_beside)",
                            "{{tenant}} {{gallery}} {{state}}",
                        ),
                    ),
                ),
                Graph(
                    "Backlog",
                    "Translated templates that are to be enrolled natively.",
                    "short",
                    (
                        Query(
                            "max by (tenant, gallery) (facebridge_gallery_backlog_templates)", "{{tenant}} {{gallery}}"
                        ),
                    ),
                ),
            ),
        ),
    ),
)
