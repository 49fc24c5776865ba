"""Every setting of the service, with its one default: read from FACEBRIDGE_* and from flags, which win."""

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.entities import IndexKind
from service.errors import StartupError

PREFIX = "FACEBRIDGE_"
_OF_OTHERS = frozenset(
    PREFIX + name for name in ("ENCODERS", "SHARED", "FAILPOINT", "CRASHES", "OPERATIONS", "SOAK_SECONDS", "API_KEY")
)
"""Variables of other commands and of the tests."""


def _norms(value: Any) -> Any:
    """`space=12.5,other=8` as a dictionary."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    try:
        norms = {space.strip(): float(norm) for space, _, norm in pairs}
        if not all(0 < norm < math.inf for norm in norms.values()):
            raise ValueError
        return norms
    except ValueError:
        raise ValueError("give it as space=12.5,other=8") from None


def _address(value: str) -> str:
    if not re.fullmatch(r"(https?://\S+)?", value):
        raise ValueError("give an address, such as http://collector:4318")
    return value


class Settings(BaseSettings):
    """How to run `facebridge serve`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    bundles: Annotated[Path, Field(description="folder of bundles to serve")] = Path("bundles")
    data: Annotated[Path, Field(description="folder of the galleries; made if missing")] = Path("data")
    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; 0 takes a free one")] = 8000
    device: Annotated[
        Literal["auto", "cpu", "cuda"], Field(description="where bundles run; cuda refuses to start without it")
    ] = "auto"
    keys: Annotated[Path | None, Field(description="file of API keys; if not given, keys.json in the data folder")] = (
        None
    )
    requests_per_second: Annotated[
        float, Field(ge=0, description="most requests of a key, if it says nothing itself; 0 for any number")
    ] = 0.0
    probes_per_day: Annotated[
        int,
        Field(
            ge=0,
            description="most probes that a key may have compared in a day (UTC), if it says nothing itself; 0 for any number",
        ),
    ] = 0
    galleries: Annotated[
        Literal["on", "off"],
        Field(description="off for a replica that translates, encodes and verifies, and keeps no galleries"),
    ] = "on"
    audit: Annotated[
        Literal["on", "off"], Field(description="whether it is written down who did what, where keys are needed")
    ] = "on"
    redis: Annotated[
        str,
        Field(
            description="where replicas share jobs, limits and news, such as redis://redis:6379/0; empty: this process alone"
        ),
    ] = ""
    insecure_bind: Annotated[
        bool, Field(description="listen beyond this machine without authentication, behind a proxy that has it")
    ] = False
    allow_reconstruction: Annotated[
        bool, Field(description="serve bundles that paint the faces that features are of, at /reconstruct")
    ] = False
    low_confidence: Annotated[
        Literal["pass", "flag", "refuse"],
        Field(
            description="what becomes of translations below min-confidence; a request may ask for more, not for less"
        ),
    ] = "flag"
    min_confidence: Annotated[
        float, Field(ge=0, le=1, description="least confidence in a translation; of features like no face it is 0")
    ] = 0.05
    enrol_min_confidence: Annotated[
        float, Field(ge=0, le=1, description="translated templates below are not enrolled; 0 lets all in")
    ] = 0.0
    enrol_min_norm: Annotated[
        dict[str, float],
        NoDecode,
        BeforeValidator(_norms),
        Field(
            description="features of a space that are shorter than this as the encoder put them out are not enrolled, e.g. "
            "mobilefacenet-128=12.5,other=8"
        ),
    ] = {}
    enrol_duplicates: Annotated[
        Literal["allow", "flag", "refuse"],
        Field(description="what becomes of templates whose face is enrolled under another name"),
    ] = "allow"
    duplicate_fmr: Annotated[
        float,
        Field(gt=0, lt=1, description="share of strangers who are as alike as templates that count as of one face"),
    ] = 1e-6
    wrong_space: Annotated[
        Literal["log", "refuse"],
        Field(description="what becomes of features whose stream does not look like the space that they claim"),
    ] = "log"
    gallery_index: Annotated[
        IndexKind,
        Field(
            description="how galleries are searched that are made without saying it: exactly (flat), by an index, or as their "
            "size and memory allow (auto)"
        ),
    ] = "auto"
    index_recall: Annotated[
        float,
        Field(gt=0, le=1, description="share of the ten nearest templates that an index is to find, by looking wider"),
    ] = 0.99
    index_memory_bytes: Annotated[
        int,
        Field(ge=0, description="for vectors and indexes of a gallery before it is indexed; 0: half of what there is"),
    ] = 0
    migration_share: Annotated[
        float, Field(gt=0, le=1, description="share of the time that a migration works while there are requests")
    ] = 0.4
    log_format: Annotated[Literal["text", "json"], Field(description="how lines of the log are written")] = "text"
    otlp_endpoint: Annotated[
        str,
        AfterValidator(_address),
        Field(
            description="where traces are sent, by OTLP over HTTP, such as http://collector:4318; empty: nowhere",
        ),
    ] = ""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Field(description="least level logged")] = "info"
    max_json_bytes: Annotated[int, Field(ge=1024, description="largest JSON body")] = 8 << 20
    max_binary_bytes: Annotated[
        int, Field(ge=1024, description="largest npy or npz body, and what an npz unpacks to")
    ] = 64 << 20
    max_batch_rows: Annotated[int, Field(ge=1, description="most vectors in one request")] = 65_536
    max_pixels: Annotated[int, Field(ge=1, description="most pixels of a picture")] = 40_000_000
    batch_rows: Annotated[int, Field(ge=1, description="most rows a model runs at once")] = 1024
    queue_pictures: Annotated[
        int, Field(ge=1, description="most pictures that wait to be decoded or encoded before requests are refused")
    ] = 4096
    requests_at_once: Annotated[
        int,
        Field(
            ge=1,
            description="most requests of clients, whose bodies have come, that are worked on before more are refused",
        ),
    ] = 512
    head_seconds: Annotated[float, Field(gt=0, description="longest that the head of a request may take to arrive")] = (
        30.0
    )
    body_seconds: Annotated[
        float, Field(gt=0, description="longest that a request's body may take, or an answer lie unread")
    ] = 60.0
    max_candidates: Annotated[int, Field(ge=1, description="most candidates in one answer: probes times top_k")] = (
        200_000
    )
    queue_rows: Annotated[
        int, Field(ge=1, description="most rows that wait for a model before requests are refused")
    ] = 131_072
    max_samples: Annotated[
        int, Field(ge=1, le=1024, description="most features as which a probe of a weak modality is asked about")
    ] = 64
    max_top_k: Annotated[int, Field(ge=1, description="most candidates of one identification")] = 1000


def load_settings(flags: dict[str, Any]) -> Settings:
    """Settings from the environment and `flags` (only those that were given). Raises `StartupError` in one line."""
    names = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in names | _OF_OTHERS)
    if unknown:
        raise StartupError(f"{unknown[0]}: no such setting; facebridge serve --help lists them")
    try:
        settings = Settings(**flags)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_input=False)[0]
        name = "_".join(str(part) for part in first["loc"])
        raise StartupError(f"setting {name}: {first['msg']}") from None
    for is_so, what in _contradictions(settings):
        if is_so:
            raise StartupError(f"settings that contradict each other: {what}")
    return settings


def _contradictions(settings: Settings) -> list[tuple[bool, str]]:
    """Of settings that were given, which would have no effect, or leave nothing that could be asked for."""
    given = settings.model_fields_set

    def are_given(*names: str) -> bool:
        return given.issuperset(names)

    return [
        (
            are_given("max_top_k", "max_candidates") and settings.max_top_k > settings.max_candidates,
            "max_top_k is more than max_candidates, which one probe with so many would exceed",
        ),
        (
            settings.low_confidence == "refuse" and settings.min_confidence == 0,
            "low_confidence is refuse, and min_confidence 0: nothing is below it",
        ),
        (
            are_given("duplicate_fmr") and settings.enrol_duplicates == "allow",
            "duplicate_fmr is given, and enrol_duplicates is allow: nobody looks for them",
        ),
    ]
