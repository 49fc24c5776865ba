"""JSON documents of the contract: one canonical writing, one strict reading.

Canonical: keys sorted, no insignificant space, UTF-8, no NaN. The same value always gives the same bytes, so a hash of
them identifies the value.
"""

import hashlib
import json
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from models.errors import ContractError

T = TypeVar("T")


def canonical_json(value: object) -> bytes:
    """The one byte string that stands for `value`, for hashing."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def readable_json(value: object) -> bytes:
    """As canonical as `canonical_json`, but indented for people; what is written to disk."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parse_document(adapter: TypeAdapter[T], text: bytes | str, *, what: str, error: type[ContractError]) -> T:
    """Read `text` strictly as the adapter's type. Raises `error` with the place of the first fault, never its value."""
    try:
        return adapter.validate_json(text, strict=True)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_input=False)[0]
        # Unknown keys come from outside: on one line, and cut.
        place = "".join(c for c in "/".join(str(part) for part in first["loc"]) if c.isprintable())[:120]
        raise error(f"{what}: {first['msg']}" + (f" (at {place})" if place else "")) from None


def sha256_hex(data: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
