"""Reading request bodies: bounded, strict, and by their declared media type."""

import asyncio
import hashlib
import re
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import numpy.typing as npt
import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from models.errors import ContractError
from models.feature_set import FeatureSet, read_npz
from models.npy import read_npy
from service.api.problems import Problem, problem_of_validation
from service.errors import DimensionMismatchError
from service.observability.stages import stage
from service.settings import Settings

JSON = "application/json"
NPY = "application/x-npy"
NPZ = "application/x-npz"
PARQUET = "application/vnd.apache.parquet"

_OFF_LOOP_BYTES = 32 << 10
_MAX_DEPTH = 16
_MAX_LENGTH_DIGITS = 18
_MAX_KEYS = 64
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"\s*+(:?)')
"""Every string of a valid document, once and from its first quote, with the colon that follows a key: linear in time."""
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?<= \(at ).*(?=\)$)""")
_OWN_WORDS = frozenset({"'feature'", "'image'", "'subject'", "'modality'", "'space'"})

ModelT = TypeVar("ModelT", bound=BaseModel)


class JsonBody(Generic[ModelT]):
    """A dependency: the request's JSON body as `model`; without a body its defaults, where it may be without. Raises
    `Problem`.
    """

    def __init__(self, model: type[ModelT], *, is_optional: bool = False) -> None:
        self.model = model
        self.is_optional = is_optional

    async def __call__(self, request: Request) -> ModelT:
        """Read, decode and validate; large bodies off the event loop."""
        limit = settings_of(request).max_json_bytes
        if self.is_optional and not media_type(request) and not await read_bytes(request, limit):
            return self.model()
        require_media_type(request, JSON)
        data = await read_bytes(request, limit)
        with stage("decode"):
            if len(data) < _OFF_LOOP_BYTES:
                return self.parse(data)
            return await asyncio.to_thread(self.parse, data)

    def parse(self, data: bytes) -> ModelT:
        """The model in `data`."""
        try:
            return self.model.model_validate(decode_json(data))
        except ValidationError as failure:
            raise problem_of_validation(failure) from None


def decode_json(data: bytes) -> Any:
    """Strict JSON: no NaN, Infinity or overflow, valid UTF-8, no key twice, no deep nesting. Raises `Problem` 400."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _malformed("the body is not valid JSON (RFC 8259; NaN and Infinity are not JSON)") from None
    num_keys = _count_keys(value, 0)
    if num_keys != _STRINGS.findall(data).count(b":"):
        raise _malformed("an object of the body has the same key twice")
    return value


async def read_array(request: Request) -> npt.NDArray[Any]:
    """The body as one `.npy` array. Raises `Problem`."""
    data = await read_bytes(request, settings_of(request).max_binary_bytes)
    try:
        with stage("decode"):
            return read_npy(data)
    except ContractError as failure:
        raise Problem(422, "invalid-request", str(failure)) from None


async def read_rows(request: Request) -> npt.NDArray[Any]:
    """The body as one `.npy` array of rows of numbers, at least one. Raises `Problem`, `DimensionMismatchError`."""
    rows = await read_array(request)
    if rows.ndim != 2 or rows.dtype.kind != "f" or len(rows) == 0:
        raise DimensionMismatchError("features must be rows of floating-point numbers, at least one")
    return rows


async def read_feature_set(request: Request) -> FeatureSet:
    """The body as a feature set, `.npz` or Parquet as declared. Raises `Problem`."""
    limit = settings_of(request).max_binary_bytes
    data = await read_bytes(request, limit)
    try:
        with stage("decode"):
            if media_type(request) == PARQUET:
                data = await request.app.state.services.parquet.npz(data, limit, settings_of(request).body_seconds)
            return await asyncio.to_thread(read_npz, data, what="body", max_bytes=limit)
    except ContractError as failure:
        # Its words are for the owner of the file and may quote keys and columns of it.
        reason = _QUOTED.sub(lambda quoted: quoted[0] if quoted[0] in _OWN_WORDS else "...", str(failure))
        raise Problem(422, "invalid-request", reason) from None


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body, of at most `limit` bytes. Raises `Problem` 413 as soon as it is more, 408 where it does not come."""
    declared = request.headers.get("content-length", "").lstrip("0")
    if declared.isdecimal() and (len(declared) > _MAX_LENGTH_DIGITS or int(declared) > limit):
        raise _too_large(limit)
    data = bytearray()
    try:
        async with asyncio.timeout(settings_of(request).body_seconds):
            async for part in request.stream():
                data += part
                if len(data) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise Problem(408, "request-timeout", "the body took too long to arrive; send less at a time") from None
    except ClientDisconnect:
        raise Problem(408, "request-timeout", "the connection was closed before the whole body had come") from None
    request.state.body = bytes(data)
    return request.state.body  # type: ignore[no-any-return]


def body_digest(request: Request) -> bytes:
    """SHA-256 of the body that was read, of nothing where there was none to read."""
    return hashlib.sha256(getattr(request.state, "body", b"")).digest()


def media_type(request: Request) -> str:
    """The declared media type without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_media_type(request: Request, *allowed: str) -> str:
    """The declared media type. Raises `Problem` 415 where it is none of `allowed`."""
    declared = media_type(request)
    if declared not in allowed:
        raise Problem(415, "unsupported-media-type", f"send the body as {' or '.join(allowed)}")
    return declared


def settings_of(request: Request) -> Settings:
    """The settings of the app that serves `request`."""
    settings: Settings = request.app.state.services.settings
    return settings


def _count_keys(value: Any, depth: int) -> int:
    if depth > _MAX_DEPTH:
        raise _malformed(f"the body is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, dict):
        if len(value) > _MAX_KEYS:
            raise _malformed(f"an object of the body has more than {_MAX_KEYS} keys")
        return len(value) + sum(_count_keys(inner, depth + 1) for inner in value.values())
    if isinstance(value, list):
        return sum(_count_keys(inner, depth + 1) for inner in value if isinstance(inner, dict | list))
    return 0


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed-json", detail)


def _too_large(limit: int) -> Problem:
    return Problem(413, "payload-too-large", f"the body may have at most {limit} bytes; send less at a time")


def refuse_query(query: BaseModel, names: Iterable[str]) -> None:
    """Raises `Problem` where a JSON body, which holds everything, comes with one of the parameters that change the answer's
    meaning and would not be heeded.
    """
    given = sorted(query.model_fields_set.intersection(names))
    if given:
        raise Problem(422, "invalid-request", f"{given[0]} belongs into the JSON body, not into its query")
