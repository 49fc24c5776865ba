"""How it is altogether."""

from deploy.grafana.panels import Board, Graph, Number, Query, Row, mean, quantile, rate, share

_ERRORS = '{status=~"5.."}'
_SEARCHES = '{route="/identify"}'


def _number(title: str, text: str, unit: str, expression: str) -> Number:
    return Number(title, text, unit, Query(expression))


OVERVIEW = Board(
    "facebridge-overview",
    "overview",
    (
        Row(
            "Is it there",
            (
                _number("Replicas", "That answer Prometheus.", "short", 'sum(up{job="facebridge"})'),
                _number("Requests", "A second.", "reqps", rate("request_seconds_count")),
                _number(
                    "Failures",
                    "Share of requests answered by 5xx.",
                    "percentunit",
                    share(rate("request_seconds_count", where=_ERRORS), rate("request_seconds_count")),
                ),
                _number(
                    "Slow searches", "99 % of them are faster.", "s", quantile(0.99, "request_seconds", "", _SEARCHES)
                ),
                _number(
                    "In progress",
                    "Requests that are not answered yet.",
                    "short",
                    "sum(facebridge_requests_in_progress)",
                ),
                _number(
                    "Tenants that cannot write",
                    "Should be none.",
                    "short",
                    "count(facebridge_writable == 0) or vector(0)",
                ),
                _number(
                    "Bundles that are not served",
                    "Should be none.",
                    "short",
                    'max(facebridge_bundles{state="rejected"})',
                ),
                _number(
                    "Replicas without Redis",
                    "That have been told of one, and do not reach it.",
                    "short",
                    "count(facebridge_shared_state_reachable == 0) or vector(0)",
                ),
                _number(
                    "Versions", "Replicas by version and device.", "short", "sum by (version, device) (facebridge_info)"
                ),
            ),
        ),
        Row(
            "Answers: how many, how fast, which failed",
            (
                Graph("Requests", "By route.", "reqps", (Query(rate("request_seconds_count", "route"), "{{route}}"),)),
                Graph(
                    "Latency of searches",
                    "Half, 95 % and 99 % of them are faster.",
                    "s",
                    tuple(
                        Query(quantile(part, "request_seconds", "", _SEARCHES), f"{part:.0%}")
                        for part in (0.5, 0.95, 0.99)
                    ),
                ),
                Graph(
                    "Latency",
                    "95 % are faster, by route.",
                    "s",
                    (Query(quantile(0.95, "request_seconds", "route"), "{{route}}"),),
                ),
                Graph(
                    "Stages",
                    "Where a request's time goes, in the mean.",
                    "s",
                    (Query(mean("stage_seconds", "stage"), "{{stage}}"),),
                ),
                Graph(
                    "Refusals and failures", "By type.", "reqps", (Query(rate("problems_total", "type"), "{{type}}"),)
                ),
                Graph(
                    "Failures",
                    "Answers of 5xx, by route.",
                    "reqps",
                    (Query(rate("request_seconds_count", "route", _ERRORS), "{{route}}"),),
                ),
            ),
        ),
        Row(
            "Strangers are refused, and it is written down who did what",
            (
                Graph(
                    "Without a key",
                    "Requests that were refused for want of one, or of its scope.",
                    "reqps",
                    (Query(rate("problems_total", "type", '{type=~"unauthenticated|forbidden"}'), "{{type}}"),),
                ),
                Graph(
                    "Too often",
                    "Requests of keys that had asked too often.",
                    "reqps",
                    (Query(rate("problems_total", "type", '{type=~"rate-limited|queue-full"}'), "{{type}}"),),
                ),
                Graph(
                    "Of nobody, or of others",
                    "Requests for what there is not, or not for the tenant of their key: answers are the same.",
                    "reqps",
                    (Query(rate("problems_total", where='{type="not-found"}'), "not found"),),
                ),
                Graph(
                    "Keys",
                    "That open something.",
                    "short",
                    (Query("max by (tenant) (facebridge_live_keys)", "{{tenant}}"),),
                ),
                Graph(
                    "Audit log",
                    "Entries a second.",
                    "short",
                    (Query("sum by (tenant) (rate(facebridge_audit_entries[$__rate_interval]))", "{{tenant}}"),),
                ),
            ),
        ),
    ),
)
