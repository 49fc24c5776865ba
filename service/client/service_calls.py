"""What can be asked of the service itself: its keys, its audit log, metrics and health."""

from collections.abc import Sequence

from pydantic import TypeAdapter

from service.client.answers import Document
from service.client.call import Call, document, inside, path_of, reader, text
from service.client.probes import given
from service.client.service_answers import AuditPage, Health, Key, MadeKey, Readiness

_key = reader(TypeAdapter(Key))
_keys = inside("keys", TypeAdapter(tuple[Key, ...]))
_made_key = reader(TypeAdapter(MadeKey))
_audit = reader(TypeAdapter(AuditPage))
_health = reader(TypeAdapter(Health))
_readiness = reader(TypeAdapter(Readiness))


def keys() -> Call[tuple[Key, ...]]:
    """Keys of the sender's tenant without their secrets, the oldest first, those that are revoked too."""
    return Call("GET", "/keys", _keys)


def make_key(
    name: str,
    *,
    scopes: Sequence[str] | None = None,
    days: float | None = None,
    requests_per_second: float | None = None,
    probes_per_day: int | None = None,
) -> Call[MadeKey]:
    """A key that may do no more than the sender's own. Its secret is told once, so it is sent once: who hears nothing looks at
    `keys`, and revokes what was made.
    """
    body = {
        "name": name,
        "scopes": None if scopes is None else list(scopes),
        "days": days,
        "requests_per_second": requests_per_second,
        "probes_per_day": probes_per_day,
    }
    return Call("POST", "/keys", _made_key, json=given(body))


def rotate_key(key_id: str, *, keep_seconds: float | None = None) -> Call[MadeKey]:
    """Another secret for the sender's own key; that before opens for `keep_seconds`. It is sent once, as `make_key`."""
    body = given({"keep_seconds": keep_seconds})
    return Call("POST", path_of("keys", key_id, "rotate"), _made_key, json=body or None)


def revoke_key(key_id: str) -> Call[Key]:
    """End a key: it opens nothing within seconds, and for ever."""
    return Call("DELETE", path_of("keys", key_id), _key)


def audit(after: int = 0, *, limit: int | None = None) -> Call[AuditPage]:
    """Entries of the audit log after that of a number, as they were written."""
    return Call("GET", "/audit", _audit, {"after": after, "limit": limit})


def metrics() -> Call[str]:
    """Metrics of all tenants, as Prometheus reads them."""
    return Call("GET", "/metrics", text)


def live() -> Call[Health]:
    """Whether the process answers at all."""
    return Call("GET", "/healthz/live", _health)


def ready() -> Call[Readiness]:
    """Whether requests can be served."""
    return Call("GET", "/healthz/ready", _readiness)


def openapi() -> Call[Document]:
    """All that can be asked, as OpenAPI describes it."""
    return Call("GET", "/openapi.json", document)
