"""What each route needs of a key: one table, in which every route stands. What does not stand in it is open to nobody."""

from collections.abc import Mapping

from service.access.keys import Scope

Needed = Scope | None
"""None: any key."""

NEEDS: Mapping[tuple[str, str], Needed] = {
    ("GET", "/spaces"): None,
    ("GET", "/routes"): None,
    ("GET", "/bundles"): None,
    ("POST", "/translate"): "translate",
    ("POST", "/attributes"): "translate",
    ("POST", "/verify"): "search",
    ("POST", "/identify"): "search",
    # Whoever sees a face has more than its feature.
    ("POST", "/reconstruct"): "vectors-read",
    ("GET", "/galleries"): "search",
    ("GET", "/galleries/{gallery}"): "search",
    ("GET", "/galleries/{gallery}/templates"): "search",
    ("GET", "/galleries/{gallery}/templates/{template_id}"): "search",
    ("POST", "/galleries/{gallery}/templates"): "enrol",
    ("PUT", "/galleries/{gallery}/templates"): "enrol",
    ("DELETE", "/galleries/{gallery}/templates/{template_id}"): "enrol",
    ("DELETE", "/galleries/{gallery}/subjects/{subject:path}"): "enrol",
    ("POST", "/galleries/{gallery}/erasures"): "erase",
    ("POST", "/galleries"): "gallery-admin",
    ("DELETE", "/galleries/{gallery}"): "gallery-admin",
    ("GET", "/galleries/{gallery}/check"): "gallery-admin",
    ("POST", "/galleries/{gallery}/snapshots"): "gallery-admin",
    ("GET", "/galleries/{gallery}/snapshots"): "gallery-admin",
    ("GET", "/galleries/{gallery}/snapshots/{snapshot_id}"): "gallery-admin",
    ("DELETE", "/galleries/{gallery}/snapshots/{snapshot_id}"): "gallery-admin",
    ("POST", "/galleries/{gallery}/restore"): "gallery-admin",
    ("POST", "/galleries/{gallery}/migrations"): "migrate",
    ("GET", "/galleries/{gallery}/backlog"): "migrate",
    ("GET", "/jobs"): "migrate",
    ("GET", "/jobs/{job_id}"): "migrate",
    ("POST", "/jobs/{job_id}/pause"): "migrate",
    ("POST", "/jobs/{job_id}/resume"): "migrate",
    ("POST", "/jobs/{job_id}/cancel"): "migrate",
    ("POST", "/jobs/{job_id}/cutover"): "migrate",
    ("POST", "/jobs/{job_id}/rollback"): "migrate",
    ("POST", "/jobs/{job_id}/probes"): "migrate",
    ("GET", "/jobs/{job_id}/verdict"): "migrate",
    ("GET", "/jobs/{job_id}/verdict.html"): "migrate",
    ("GET", "/metrics"): "metrics",
    ("GET", "/keys"): "keys-admin",
    ("POST", "/keys"): "keys-admin",
    ("POST", "/keys/{key_id}/rotate"): "keys-admin",
    ("DELETE", "/keys/{key_id}"): "keys-admin",
    ("GET", "/audit"): "audit-read",
}

OPEN = frozenset({"/healthz/live", "/healthz/ready", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"})
"""Paths that need no key: whether it is well, and what can be read in its source."""

CHANGING: frozenset[Needed] = frozenset({"enrol", "erase", "gallery-admin", "migrate", "keys-admin"})
"""What a key may change something by. A request other than GET that does is answered when it is in the audit log on disk."""
NOT_AUDITED: frozenset[Needed] = frozenset({None, "metrics"})
