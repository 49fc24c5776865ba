"""What can be asked of faces, and of what they are compared by. Shapes: N rows, S dimension of a space."""

import json
import re
from typing import Any

import httpx
import numpy as np
from pydantic import TypeAdapter

from models.errors import ContractError
from models.npy import read_npy, write_npy
from service.client.answers import (
    Answer,
    Bundles,
    Identified,
    IdentifiedClosedSet,
    ListedRoute,
    ListedSpace,
    Route,
    SearchedMany,
    Told,
    Translated,
    TranslatedWithConfidence,
    Verified,
)
from service.client.call import Call, content, reader, stranger
from service.client.probes import (
    Filter,
    Picture,
    Rows,
    Sample,
    TellAttributes,
    Trust,
    Where,
    filter_json,
    float32,
    given,
    picture_json,
    probe_json,
    tell_json,
    trust_json,
)

NPY, NPZ, PARQUET = "application/x-npy", "application/x-npz", "application/vnd.apache.parquet"

_verified = reader(TypeAdapter(Verified))
_identified = reader(TypeAdapter(Identified))
_searched_many = reader(TypeAdapter(SearchedMany))
_identified_closed_set = reader(TypeAdapter(IdentifiedClosedSet))
_told = reader(TypeAdapter(Told))
_spaces = reader(TypeAdapter(tuple[ListedSpace, ...]))
_routes = reader(TypeAdapter(tuple[ListedRoute, ...]))
_bundles = reader(TypeAdapter(Bundles))
_MORE_FLAGGED = re.compile(r"(.*), \.\.\. of ([0-9]+)")
"""The header names the first hundred, and says how many there are."""


def translate(features_NS: Rows, *, source: str, target: str, trust: Trust | None = None) -> Call[Translated]:
    """Features of one space to another; as `.npy` both ways."""
    query = {"source": source, "target": target, **trust_json(trust)}
    return Call("POST", "/translate", _translated, query, content=write_npy(float32(features_NS)), media_type=NPY)


def translate_with_confidence(
    features_NS: Rows, *, source: str, target: str, trust: Trust | None = None
) -> Call[TranslatedWithConfidence]:
    """The same, and how far each translation can be trusted; as JSON both ways, so for fewer at a time."""
    body = {"source": source, "target": target, "features": float32(features_NS).tolist()}
    body |= {} if trust is None else {"trust": trust_json(trust)}
    return Call("POST", "/translate", _translated_with_confidence, json=body)


def verify(
    a: Sample,
    b: Sample,
    *,
    space_a: str,
    space_b: str,
    fmr: float | None = None,
    modality_a: str | None = None,
    modality_b: str | None = None,
    samples: int | None = None,
    seed: int | None = None,
    trust: Trust | None = None,
) -> Call[Verified]:
    """Two features (S,), or pictures, of the same or different spaces; a modality, such as `sketch`, where one is no photo.

    `samples` and `seed` say as how many drawn features a probe of a weak modality is asked about, where a sampler is served.
    """
    body = {
        "a": probe_json(a, space_a, modality_a),
        "b": probe_json(b, space_b, modality_b),
        "fmr": fmr,
        "samples": samples,
        "seed": seed,
        "trust": None if trust is None else trust_json(trust),
    }
    return Call("POST", "/verify", _verified, json=given(body))


def identify(
    gallery: str,
    probe_S: Sample,
    *,
    space: str,
    top_k: int = 10,
    fmr: float | None = None,
    fpir: float | None = None,
    modality: str | None = None,
    where: Where | None = None,
    filter: Filter | None = None,  # noqa: A002  (as the request names it)
    attributes: TellAttributes | None = None,
    samples: int | None = None,
    seed: int | None = None,
    trust: Trust | None = None,
) -> Call[Identified]:
    """Whom of a gallery a feature (S,), or a picture, may be of; with `fmr` or `fpir` the answer may be nobody."""
    body = {
        "gallery": gallery,
        "probe": probe_json(probe_S, space, modality),
        "top_k": top_k,
        "fmr": fmr,
        "fpir": fpir,
        "where": where,
        "filter": filter_json(filter),
        "attributes": tell_json(attributes),
        "samples": samples,
        "seed": seed,
        "trust": None if trust is None else trust_json(trust),
    }
    return Call("POST", "/identify", _identified, json=given(body))


def identify_many(
    gallery: str,
    probes_NS: Rows,
    *,
    space: str,
    top_k: int = 10,
    fmr: float | None = None,
    fpir: float | None = None,
    modality: str | None = None,
    where: Where | None = None,
    filter: Filter | None = None,  # noqa: A002  (as the request names it)
    samples: int | None = None,
    seed: int | None = None,
    trust: Trust | None = None,
) -> Call[tuple[Identified, ...]]:
    """The same of many features at once, as `.npy`; in their order."""
    query = {
        "gallery": gallery,
        "space": space,
        "top_k": top_k,
        "fmr": fmr,
        "fpir": fpir,
        "modality": modality,
        **_conditions(where, filter),
        "samples": samples,
        "seed": seed,
        **trust_json(trust),
    }
    data = write_npy(float32(probes_NS))
    return Call("POST", "/identify", _searched, query, content=data, media_type=NPY)


def identify_set(
    gallery: str,
    data: bytes,
    *,
    media_type: str = NPZ,
    top_k: int = 10,
    fmr: float | None = None,
    fpir: float | None = None,
    where: Where | None = None,
    filter: Filter | None = None,  # noqa: A002  (as the request names it)
    samples: int | None = None,
    seed: int | None = None,
    trust: Trust | None = None,
) -> Call[tuple[Identified, ...]]:
    """The same of a whole feature set, `.npz` or Parquet, which names its space and modalities itself; by its pictures' keys."""
    query = {
        "gallery": gallery,
        "top_k": top_k,
        "fmr": fmr,
        "fpir": fpir,
        **_conditions(where, filter),
        "samples": samples,
        "seed": seed,
        **trust_json(trust),
    }
    return Call("POST", "/identify", _searched, query, content=data, media_type=media_type)


def identify_closed_set(
    picture: Picture, *, modality: str | None = None, top_k: int | None = None, bundle: str | None = None
) -> Call[IdentifiedClosedSet]:
    """Whom, of those that a classifier knows, a picture is of: there is no gallery, and no answer that says nobody."""
    probe = given({**picture_json(picture), "modality": modality})
    body = given({"mode": "closed-set", "probe": probe, "top_k": top_k, "bundle": bundle})
    return Call("POST", "/identify", _identified_closed_set, json=body)


def attributes(image: Picture | str, *, bundle: str | None = None, modality: str | None = None) -> Call[Told]:
    """What a picture, or one in base64, shows beside who is on it."""
    sent = picture_json(image) if isinstance(image, Picture) else {"image": image}
    return Call("POST", "/attributes", _told, json=given({**sent, "bundle": bundle, "modality": modality}))


def reconstruct(sample: Sample, *, space: str) -> Call[bytes]:
    """The face that a feature (S,) is of, painted as PNG: a guess, never evidence, and only where the operator allows it."""
    return Call("POST", "/reconstruct", content, json=probe_json(sample, space))


def spaces() -> Call[tuple[ListedSpace, ...]]:
    """What features may be of."""
    return Call("GET", "/spaces", _spaces)


def routes(source: str | None = None, target: str | None = None) -> Call[tuple[ListedRoute, ...]]:
    """What can be compared with what, through which translators."""
    return Call("GET", "/routes", _routes, {"source": source, "target": target})


def bundles() -> Call[Bundles]:
    """What is served, on which device, and what is not."""
    return Call("GET", "/bundles", _bundles)


class _Translations(Answer):
    """As they come in JSON."""

    features: list[list[float]]
    route: Route
    confidence: list[float | None] | None
    flagged: tuple[int, ...]


_translations = reader(TypeAdapter(_Translations))


def _conditions(where: Where | None, asked: Filter | None) -> dict[str, str | None]:
    """As a query says them: JSON text."""
    return {
        name: None if value is None else json.dumps(value, allow_nan=False)
        for name, value in (("where", where), ("filter", filter_json(asked)))
    }


def _translated(response: httpx.Response) -> Translated:
    try:
        features = read_npy(response.content)
    except ContractError:
        raise stranger() from None
    named = response.headers.get("x-facebridge-route", "")
    rows, num = _flagged(response.headers.get("x-facebridge-flagged", ""))
    route = tuple(filter(None, named.split(",")))
    return Translated(features=features.astype(np.float32), route=route, flagged=rows, num_flagged=num)


def _flagged(header: str) -> tuple[tuple[int, ...], int]:
    """The rows that are named, and how many there are."""
    more = _MORE_FLAGGED.fullmatch(header)
    try:
        rows = tuple(int(row) for row in (more[1] if more else header).split(",") if row)
    except ValueError:
        raise stranger() from None
    return rows, int(more[2]) if more else len(rows)


def _translated_with_confidence(response: httpx.Response) -> TranslatedWithConfidence:
    read = _translations(response)
    try:
        features = np.array(read.features, dtype=np.float32)
    except ValueError:
        raise stranger() from None
    confidence = None if read.confidence is None else np.array(read.confidence, dtype=np.float32)
    return TranslatedWithConfidence(features=features, route=read.route, confidence=confidence, flagged=read.flagged)


def _searched(response: httpx.Response) -> tuple[Identified, ...]:
    """Each with what is the same for all."""
    searched = _searched_many(response)
    same: dict[str, Any] = {name: value for name, value in searched if name != "results"}
    return tuple(Identified(**same, **dict(found)) for found in searched.results)
