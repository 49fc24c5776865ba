"""How much more it can take."""

from deploy.grafana.panels import Board, Graph, Query, Row, mean, quantile, rate

CAPACITY = Board(
    "facebridge-capacity",
    "capacity",
    (
        Row(
            "Models",
            (
                Graph(
                    "Rows at once",
                    "Of a batch, in the mean.",
                    "short",
                    (Query(mean("batch_rows", "bundle"), "{{bundle}}"),),
                ),
                Graph("Rows", "A second.", "short", (Query(rate("batch_rows_sum", "bundle"), "{{bundle}}"),)),
                Graph(
                    "Rows that wait",
                    "By bundle.",
                    "short",
                    (Query("sum by (bundle) (facebridge_queued_rows)", "{{bundle}}"),),
                ),
                Graph(
                    "Waiting for a model",
                    "95 % wait less. It grows before anything is refused: scale out by it.",
                    "s",
                    (Query(quantile(0.95, "stage_seconds", "route", '{stage="queue"}'), "{{route}}"),),
                ),
                Graph(
                    "Inference",
                    "95 % are faster.",
                    "s",
                    (Query(quantile(0.95, "stage_seconds", "route", '{stage="inference"}'), "{{route}}"),),
                ),
                Graph(
                    "Search",
                    "95 % are faster.",
                    "s",
                    (Query(quantile(0.95, "stage_seconds", "route", '{stage="search"}'), "{{route}}"),),
                ),
            ),
        ),
        Row(
            "Processes",
            (
                Graph(
                    "CPU",
                    "Cores.",
                    "short",
                    (Query('rate(process_cpu_seconds_total{job="facebridge"}[$__rate_interval])', "{{instance}}"),),
                ),
                Graph(
                    "Memory",
                    "Resident, what is mapped of files included.",
                    "bytes",
                    (Query('process_resident_memory_bytes{job="facebridge"}', "{{instance}}"),),
                ),
                Graph(
                    "Memory of what there may be",
                    "Of the container's limit, or the machine's.",
                    "percentunit",
                    (
                        Query(
                            'process_resident_memory_bytes{job="facebridge"} / facebridge_memory_limit_bytes',
                            "{{instance}}",
                        ),
                    ),
                ),
                Graph(
                    "Disk",
                    "Share of the data folder's that is free.",
                    "percentunit",
                    (Query("facebridge_disk_free_bytes / facebridge_disk_size_bytes", "{{instance}}"),),
                ),
                Graph(
                    "Open files",
                    "Share of those that may be.",
                    "percentunit",
                    (Query('process_open_fds{job="facebridge"} / process_max_fds{job="facebridge"}', "{{instance}}"),),
                ),
                Graph("Requests in progress", "", "short", (Query("facebridge_requests_in_progress", "{{instance}}"),)),
                Graph(
                    "GPU memory",
                    "Share that is used, by all processes.",
                    "percentunit",
                    (
                        Query(
                            'facebridge_gpu_memory_bytes{state="used"} / on (instance, gpu)'
                            ' facebridge_gpu_memory_bytes{state="total"}',
                            "{{instance}} {{gpu}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
