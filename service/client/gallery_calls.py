"""What can be asked of galleries: templates put in and taken out, erasures, snapshots, checks. Shapes: N rows, S dimension of a
space.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from service.client.answers import Document
from service.client.call import Call, inside, nothing, once, path_of, reader
from service.client.face_calls import NPZ
from service.client.gallery_answers import CheckReport, Enrolled, Gallery, Snapshot, Template, TemplatePage
from service.client.probes import KeepAttributes, Rows, Sample, given, sample_json, tell_json

_gallery = reader(TypeAdapter(Gallery))
_galleries = inside("galleries", TypeAdapter(tuple[Gallery, ...]))
_enrolled = reader(TypeAdapter(Enrolled))
_template = reader(TypeAdapter(Template))
_templates = reader(TypeAdapter(TemplatePage))
_num_removed = inside("num_removed", TypeAdapter(int))
_receipts = inside("receipts", TypeAdapter(tuple[dict[str, Any], ...]))
_snapshot = reader(TypeAdapter(Snapshot))
_snapshots = inside("snapshots", TypeAdapter(tuple[Snapshot, ...]))
_report = reader(TypeAdapter(CheckReport))


def create_gallery(name: str, *, space: str, index: str | None = None) -> Call[Gallery]:
    """An empty gallery in one space; `index` says how it is searched: `auto`, `flat`, `fp16`, `sq8`, `ivf`, `hnsw`."""
    body = given({"name": name, "space": space, "index": index})
    return Call("POST", "/galleries", _gallery, json=body, headers=once())


def gallery(name: str) -> Call[Gallery]:
    """One gallery."""
    return Call("GET", path_of("galleries", name), _gallery)


def galleries() -> Call[tuple[Gallery, ...]]:
    """All of them by name."""
    return Call("GET", "/galleries", _galleries)


def drop_gallery(name: str) -> Call[None]:
    """Remove a gallery with all its templates."""
    return Call("DELETE", path_of("galleries", name), nothing, headers=once())


def enrol(
    gallery: str,
    subjects: Sequence[str],
    features_NS: Rows | Sequence[Sample],
    *,
    space: str,
    keys: Sequence[str] | None = None,
    metadata: Sequence[Mapping[str, Any]] | None = None,
    attributes: KeepAttributes | None = None,
) -> Call[Enrolled]:
    """Put templates into a gallery, all or none: features, or pictures, of one space, one for each subject that is named.

    Raises `ValueError` where there are not as many of each.
    """
    body = _enrolment(space, _templates_json(subjects, features_NS, keys, metadata), attributes)
    return Call("POST", path_of("galleries", gallery, "templates"), _enrolled, json=body, headers=once())


def replace(
    gallery: str,
    subjects: Sequence[str],
    features_NS: Rows | Sequence[Sample],
    *,
    space: str,
    keys: Sequence[str],
    metadata: Sequence[Mapping[str, Any]] | None = None,
    attributes: KeepAttributes | None = None,
) -> Call[Enrolled]:
    """Put templates into a gallery in place of those that have the same keys, all or none. Raises `ValueError` as `enrol`."""
    body = _enrolment(space, _templates_json(subjects, features_NS, keys, metadata), attributes)
    return Call("PUT", path_of("galleries", gallery, "templates"), _enrolled, json=body, headers=once())


def enrol_set(gallery: str, data: bytes, *, media_type: str = NPZ, metadata: str | None = None) -> Call[Enrolled]:
    """A whole feature set with its subjects, `.npz` or Parquet; `metadata` names the labels that are kept."""
    return _of_set("POST", gallery, data, media_type, metadata)


def replace_set(gallery: str, data: bytes, *, media_type: str = NPZ, metadata: str | None = None) -> Call[Enrolled]:
    """The same, in place of templates whose keys are those of the set's pictures."""
    return _of_set("PUT", gallery, data, media_type, metadata)


def template(gallery: str, template_id: str) -> Call[Template]:
    """What is known of one template, without its vector."""
    return Call("GET", path_of("galleries", gallery, "templates", template_id), _template)


def templates(
    gallery: str, cursor: str | None = None, *, subject: str | None = None, limit: int | None = None
) -> Call[TemplatePage]:
    """A page of templates in order of enrolment; of one subject alone, where it is named."""
    query = {"cursor": cursor, "subject": subject, "limit": limit}
    return Call("GET", path_of("galleries", gallery, "templates"), _templates, query)


def remove_template(gallery: str, template_id: str) -> Call[None]:
    """Remove one template."""
    return Call("DELETE", path_of("galleries", gallery, "templates", template_id), nothing, headers=once())


def remove_subject(gallery: str, subject: str) -> Call[int]:
    """Remove all templates of a subject; how many there were."""
    return Call("DELETE", path_of("galleries", gallery, "subjects", subject), _num_removed, headers=once())


def erase(gallery: str, subjects: Sequence[str]) -> Call[tuple[Document, ...]]:
    """Take subjects out of everything that is kept; a signed receipt for each, as it is: all of it is signed."""
    body = {"subjects": list(subjects)}
    return Call("POST", path_of("galleries", gallery, "erasures"), _receipts, json=body, headers=once())


def take_snapshot(gallery: str) -> Call[Snapshot]:
    """Keep a copy of all that is recorded of a gallery now."""
    return Call("POST", path_of("galleries", gallery, "snapshots"), _snapshot, headers=once())


def snapshots(gallery: str) -> Call[tuple[Snapshot, ...]]:
    """Snapshots of a gallery, the oldest first; also of one that was dropped."""
    return Call("GET", path_of("galleries", gallery, "snapshots"), _snapshots)


def snapshot(gallery: str, snapshot_id: str) -> Call[Snapshot]:
    """A snapshot, read through; a `ProblemError` `snapshot-corrupt` says that something of it is not what was written."""
    return Call("GET", path_of("galleries", gallery, "snapshots", snapshot_id), _snapshot)


def remove_snapshot(gallery: str, snapshot_id: str) -> Call[None]:
    """Remove a snapshot."""
    return Call("DELETE", path_of("galleries", gallery, "snapshots", snapshot_id), nothing, headers=once())


def restore(gallery: str, snapshot: str) -> Call[Gallery]:
    """Make a gallery what it was when a snapshot was taken."""
    body = {"snapshot": snapshot}
    return Call("POST", path_of("galleries", gallery, "restore"), _gallery, json=body, headers=once())


def check(gallery: str) -> Call[CheckReport]:
    """Whether all that is kept of a gallery is as it was written and agrees; every vector is read."""
    return Call("GET", path_of("galleries", gallery, "check"), _report)


def _of_set(method: str, gallery: str, data: bytes, media_type: str, metadata: str | None) -> Call[Enrolled]:
    return Call(
        method,
        path_of("galleries", gallery, "templates"),
        _enrolled,
        {"metadata": metadata},
        content=data,
        media_type=media_type,
        headers=once(),
    )


def _enrolment(space: str, templates: list[dict[str, Any]], attributes: KeepAttributes | None) -> dict[str, Any]:
    return given({"space": space, "templates": templates, "attributes": tell_json(attributes)})


def _templates_json(
    subjects: Sequence[str],
    samples: Rows | Sequence[Sample],
    keys: Sequence[str] | None,
    metadata: Sequence[Mapping[str, Any]] | None,
) -> list[dict[str, Any]]:
    """Raises `ValueError` where there are not as many of each."""
    templates = [{"subject": subject, **sample_json(one)} for subject, one in zip(subjects, samples, strict=True)]
    for name, values in (("key", keys), ("metadata", metadata)):
        for one, value in zip(templates, values if values is not None else [None] * len(templates), strict=True):
            if value is not None:
                one[name] = value
    return templates
