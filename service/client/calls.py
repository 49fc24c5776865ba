"""Everything that can be asked of a service. Shapes: N rows, S dimension of a space."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from models.errors import ContractError
from models.npy import read_npy, write_npy
from service.client.answers import (
    Document,
    Enrolled,
    Gallery,
    Identified,
    Job,
    JobPage,
    SearchedMany,
    Space,
    Translated,
    Verified,
)
from service.client.call import Call, nothing, once, path_of, reader
from service.client.errors import StrangerError

Rows = npt.NDArray[np.floating[Any]]
NPY, NPZ, PARQUET = "application/x-npy", "application/x-npz", "application/vnd.apache.parquet"

_document = reader(TypeAdapter(dict[str, Any]))
_job = reader(TypeAdapter(Job))
_gallery = reader(TypeAdapter(Gallery))


def translate(features_NS: Rows, *, source: str, target: str) -> Call[Translated]:
    """Features of one space to another; as `.npy` both ways."""
    query = {"source": source, "target": target}
    return Call("POST", "/translate", _translated, query, content=write_npy(_float32(features_NS)), media_type=NPY)


def verify(a: Rows, b: Rows, *, space_a: str, space_b: str, fmr: float | None = None) -> Call[Verified]:
    """Two features of the same or different spaces, (S,) each."""
    body = {"a": _probe(a, space_a), "b": _probe(b, space_b), "fmr": fmr}
    return Call("POST", "/verify", reader(TypeAdapter(Verified)), json=_given(body))


def identify(
    gallery: str,
    probe_S: Rows,
    *,
    space: str,
    top_k: int = 10,
    fmr: float | None = None,
    fpir: float | None = None,
    where: Mapping[str, Any] | None = None,
) -> Call[Identified]:
    """Whom of a gallery a feature (S,) may be of."""
    body = {
        "gallery": gallery,
        "probe": _probe(probe_S, space),
        "top_k": top_k,
        "fmr": fmr,
        "fpir": fpir,
        "where": where,
    }
    return Call("POST", "/identify", reader(TypeAdapter(Identified)), json=_given(body))


def identify_many(
    gallery: str,
    probes_NS: Rows,
    *,
    space: str,
    top_k: int = 10,
    fmr: float | None = None,
    fpir: float | None = None,
) -> Call[tuple[Identified, ...]]:
    """The same of many at once, as `.npy`; in their order."""
    query = {"gallery": gallery, "space": space, "top_k": top_k, "fmr": fmr, "fpir": fpir}
    content = write_npy(_float32(probes_NS))
    return Call("POST", "/identify", _searched, query, content=content, media_type=NPY)


def enrol(
    gallery: str,
    subjects: Sequence[str],
    features_NS: Rows,
    *,
    space: str,
    keys: Sequence[str] | None = None,
    metadata: Sequence[Mapping[str, Any]] | None = None,
) -> Call[Enrolled]:
    """Put templates into a gallery, all or none."""
    templates: list[dict[str, Any]] = [
        {"subject": subject, "feature": row.tolist()}
        for subject, row in zip(subjects, _float32(features_NS), strict=True)
    ]
    for name, values in (("key", keys), ("metadata", metadata)):
        for template, value in zip(templates, values if values is not None else [None] * len(templates), strict=True):
            if value is not None:
                template[name] = value
    body = {"space": space, "templates": templates}
    read = reader(TypeAdapter(Enrolled))
    return Call("POST", path_of("galleries", gallery, "templates"), read, json=body, headers=once())


def enrol_set(gallery: str, data: bytes, *, media_type: str = NPZ, metadata: str | None = None) -> Call[Enrolled]:
    """A whole feature set with its subjects, `.npz` or Parquet; `metadata` names the labels that are kept."""
    return Call(
        "POST",
        path_of("galleries", gallery, "templates"),
        reader(TypeAdapter(Enrolled)),
        {"metadata": metadata},
        content=data,
        media_type=media_type,
        headers=once(),
    )


def create_gallery(name: str, *, space: str, index: str | None = None) -> Call[Gallery]:
    """An empty gallery in one space."""
    body = _given({"name": name, "space": space, "index": index})
    return Call("POST", "/galleries", _gallery, json=body, headers=once())


def gallery(name: str) -> Call[Gallery]:
    """One gallery."""
    return Call("GET", path_of("galleries", name), _gallery)


def galleries() -> Call[tuple[Gallery, ...]]:
    """All of them by name."""
    return Call("GET", "/galleries", _inside("galleries", TypeAdapter(tuple[Gallery, ...])))


def drop_gallery(name: str) -> Call[None]:
    """Remove a gallery with all its templates."""
    return Call("DELETE", path_of("galleries", name), nothing, headers=once())


def remove_template(gallery: str, template_id: str) -> Call[None]:
    """Remove one template."""
    return Call("DELETE", path_of("galleries", gallery, "templates", template_id), nothing, headers=once())


def remove_subject(gallery: str, subject: str) -> Call[int]:
    """Remove all templates of a subject; how many there were."""
    read = _inside("num_removed", TypeAdapter(int))
    return Call("DELETE", path_of("galleries", gallery, "subjects", subject), read, headers=once())


def erase(gallery: str, subjects: Sequence[str]) -> Call[tuple[Document, ...]]:
    """Take subjects out of everything that is kept; a signed receipt for each."""
    read = _inside("receipts", TypeAdapter(tuple[dict[str, Any], ...]))
    body = {"subjects": list(subjects)}
    return Call("POST", path_of("galleries", gallery, "erasures"), read, json=body, headers=once())


def take_snapshot(gallery: str) -> Call[Document]:
    """Keep a copy of all that is recorded of a gallery now."""
    return Call("POST", path_of("galleries", gallery, "snapshots"), _document, headers=once())


def restore(gallery: str, snapshot: str) -> Call[Gallery]:
    """Make a gallery what it was when a snapshot was taken."""
    body = {"snapshot": snapshot}
    return Call("POST", path_of("galleries", gallery, "restore"), _gallery, json=body, headers=once())


def migrate(gallery: str, target: str, **more: Any) -> Call[Job]:
    """Migrate a gallery to another space; `more` as the route's body: `mode`, `gates`, `route`, ..."""
    body = {"target": target, **more}
    return Call("POST", path_of("galleries", gallery, "migrations"), _job, json=body, headers=once())


def job(job_id: str) -> Call[Job]:
    """A job, and how far it has come."""
    return Call("GET", path_of("jobs", job_id), _job)


def jobs(gallery: str | None = None, cursor: str | None = None) -> Call[JobPage]:
    """A page of jobs, the newest first."""
    return Call("GET", "/jobs", reader(TypeAdapter(JobPage)), {"gallery": gallery, "cursor": cursor})


def order(job_id: str, action: str, **body: Any) -> Call[Job]:
    """`pause`, `resume`, `cancel`; `cutover` with `force`, `rollback` with `accept_missing`."""
    return Call("POST", path_of("jobs", job_id, action), _job, json=body or None, headers=once())


def verdict(job_id: str, *, is_page: bool = False) -> Call[bytes]:
    """What was measured of a migration: signed JSON, or a page of HTML."""
    path = path_of("jobs", job_id, f"verdict{'.html' if is_page else ''}")
    return Call("GET", path, lambda response: response.content)


def judge_by_probes(job_id: str, data: bytes, *, media_type: str = NPZ) -> Call[Document]:
    """The verdict by labelled probes too: a feature set with subjects."""
    return Call("POST", path_of("jobs", job_id, "probes"), _document, content=data, media_type=media_type)


def attributes(image: str, *, bundle: str | None = None, modality: str | None = None) -> Call[Document]:
    """What a picture (base64) shows beside who is on it."""
    body = _given({"image": image, "bundle": bundle, "modality": modality})
    return Call("POST", "/attributes", _document, json=body)


def spaces() -> Call[tuple[Space, ...]]:
    """What features may be of."""
    return Call("GET", "/spaces", reader(TypeAdapter(tuple[Space, ...])))


def routes(source: str | None = None, target: str | None = None) -> Call[tuple[Document, ...]]:
    """What can be compared with what, through which translators."""
    read = reader(TypeAdapter(tuple[dict[str, Any], ...]))
    return Call("GET", "/routes", read, {"source": source, "target": target})


def bundles() -> Call[Document]:
    """What is served, on which device, and what is not."""
    return Call("GET", "/bundles", _document)


def _probe(feature_S: Rows, space: str) -> dict[str, Any]:
    return {"space": space, "feature": _float32(feature_S).tolist()}


def _float32(rows: Rows) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(rows, dtype=np.float32)


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _translated(response: httpx.Response) -> Translated:
    try:
        features = read_npy(response.content)
    except ContractError:
        raise StrangerError("the answer is none of Facebridge's, or of another version of it") from None
    named = response.headers.get("x-facebridge-route", "")
    return Translated(features=features.astype(np.float32), route=tuple(filter(None, named.split(","))))


def _searched(response: httpx.Response) -> tuple[Identified, ...]:
    return reader(TypeAdapter(SearchedMany))(response).results


def _inside(name: str, adapter: TypeAdapter[Any]) -> Any:
    """Reads one field of an object."""
    outer = reader(TypeAdapter(dict[str, Any]))

    def read(response: httpx.Response) -> Any:
        document = outer(response)
        try:
            return adapter.validate_python(document[name])
        except (KeyError, ValueError):
            raise StrangerError("the answer is none of Facebridge's, or of another version of it") from None

    return read
