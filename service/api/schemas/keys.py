"""API keys on the wire: made, shown without their secrets, rotated."""

from typing import Annotated, Self

from pydantic import BaseModel, Field

from service.access.keys import LEAST_RATE, MAX_DAYS, MAX_KEEP_SECONDS, MAX_NAME, USUAL_SCOPES, ApiKey, MadeKey, Scope
from service.api.schemas.probes import STRICT

_KEEP_SECONDS = 24 * 3600


class MakeKeyRequest(BaseModel):
    """A key of the sender's tenant."""

    model_config = STRICT

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME, description="for people", examples=["gate-7"])]
    scopes: Annotated[
        list[Scope], Field(min_length=1, description="what it may do, of what the sender's own key may")
    ] = list(USUAL_SCOPES)
    days: Annotated[float | None, Field(gt=0, le=MAX_DAYS, description="for how long; null: until it is revoked")] = (
        None
    )
    requests_per_second: Annotated[
        float | None, Field(ge=LEAST_RATE, le=1e6, description="most; null: as the service's setting says")
    ] = None
    probes_per_day: Annotated[
        int | None, Field(ge=0, description="most that may be compared (UTC); null: as the service's setting says")
    ] = None


class RotateKeyRequest(BaseModel):
    """Another secret for a key."""

    model_config = STRICT

    keep_seconds: Annotated[
        float, Field(ge=0, le=MAX_KEEP_SECONDS, description="for how long the secret before goes on")
    ] = _KEEP_SECONDS


class SecretView(BaseModel):
    """When a secret was made, and until when it opens; never the secret."""

    made_at: str
    until: str | None


class KeyView(BaseModel):
    """A key, without its secrets."""

    key_id: str
    name: str
    scopes: list[Scope]
    made_at: str
    until: str | None
    revoked_at: str | None
    requests_per_second: float | None
    probes_per_day: int | None
    shares: list[str]
    """The keys in whose line it was made: their limits hold for it too, and for all that came of them together."""
    secrets: list[SecretView]

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """The view."""
        return cls(
            key_id=key.key_id,
            name=key.name,
            scopes=list(key.scopes),
            made_at=key.made_at.isoformat(),
            until=key.until.isoformat() if key.until else None,
            revoked_at=key.revoked_at.isoformat() if key.revoked_at else None,
            requests_per_second=key.requests_per_second,
            probes_per_day=key.probes_per_day,
            shares=list(key.shares),
            secrets=[
                SecretView(made_at=one.made_at.isoformat(), until=one.until.isoformat() if one.until else None)
                for one in key.secrets
            ],
        )


class MadeKeyView(KeyView):
    """A key with its secret, which is told now and never again."""

    key: str

    @classmethod
    def made(cls, made: MadeKey) -> Self:
        """The view."""
        return cls(**KeyView.of(made.key).model_dump(), key=made.text)


class KeyList(BaseModel):
    """Keys of the sender's tenant, the oldest first, those that are revoked too."""

    keys: list[KeyView]
