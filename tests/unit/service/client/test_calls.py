"""What the client can ask and read, held against what the service says it can be asked and answers."""

import inspect
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from service.api.scopes import NEEDS, OPEN
from service.app import create_app
from service.client import (
    Filter,
    KeepAttributes,
    Picture,
    TellAttributes,
    Trust,
    answers,
    calls,
    gallery_answers,
    job_answers,
    service_answers,
)
from service.client.answers import Answer
from service.client.call import Call
from service.galleries.oracle import OracleGalleryStore
from service.settings import Settings
from tests.api.world import base64_of, features, picture_bytes

ROWS = features(2)
PICTURE = Picture(picture_bytes((1, 2, 3)), [(30, 40), (70, 40), (50, 60), (35, 80), (65, 80)])
TRUST = Trust("refuse", 0.5)
FILTER = Filter(0.05, ["hat"], ["beard"], ["smile"], "shown")
DRAWN = {"samples": 3, "seed": 5}
SEARCH: dict[str, Any] = {"top_k": 3, "where": {"site": "north"}, "filter": FILTER, "trust": TRUST, **DRAWN}
KEPT: dict[str, Any] = {"keys": ["1"], "metadata": [{"site": "north"}], "attributes": KeepAttributes(["hat"], "shown")}
GALLERY, JOB, KEY = "{gallery}", "{job_id}", "{key_id}"
FOR_BROWSERS = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc"})

ASKED: dict[str, list[Call[Any]]] = {
    "attributes": [calls.attributes(PICTURE, bundle="shown", modality="photo")],
    "audit": [calls.audit(3, limit=5)],
    "backlog": [calls.backlog(GALLERY, "a", limit=5)],
    "bundles": [calls.bundles()],
    "check": [calls.check(GALLERY)],
    "create_gallery": [calls.create_gallery("people", space="a", index="flat")],
    "drop_gallery": [calls.drop_gallery(GALLERY)],
    "enrol": [calls.enrol(GALLERY, ["ann"], [PICTURE], space="a", **KEPT)],
    "enrol_set": [calls.enrol_set(GALLERY, b"", metadata="site")],
    "erase": [calls.erase(GALLERY, ["ann"])],
    "galleries": [calls.galleries()],
    "gallery": [calls.gallery(GALLERY)],
    "identify": [
        calls.identify("people", PICTURE, space="a", modality="photo", attributes=TellAttributes("shown"), **SEARCH)
    ],
    "identify_closed_set": [calls.identify_closed_set(PICTURE, modality="photo", top_k=3, bundle="drawn")],
    "identify_many": [calls.identify_many("people", ROWS, space="a", modality="photo", **SEARCH)],
    "identify_set": [calls.identify_set("people", b"", **SEARCH)],
    "job": [calls.job(JOB)],
    "jobs": [calls.jobs("people", "a", limit=5)],
    "judge_by_probes": [calls.judge_by_probes(JOB, b"")],
    "keys": [calls.keys()],
    "live": [calls.live()],
    "make_key": [calls.make_key("gate", scopes=["search"], days=1.0, requests_per_second=2.0, probes_per_day=3)],
    "metrics": [calls.metrics()],
    "migrate": [
        calls.migrate(
            GALLERY,
            "b",
            mode="mixed",
            route=["a-to-b"],
            gates={"num_samples": 40},
            cutover="auto",
            keep_seconds=1.0,
            retires=False,
            untranslatable="leave-out",
        )
    ],
    "openapi": [calls.openapi()],
    "order": [
        calls.order(JOB, "pause"),
        calls.order(JOB, "resume"),
        calls.order(JOB, "cancel"),
        calls.order(JOB, "cutover", force=True),
        calls.order(JOB, "rollback", accept_missing=True),
    ],
    "ready": [calls.ready()],
    "reconstruct": [calls.reconstruct(PICTURE, space="a")],
    "remove_snapshot": [calls.remove_snapshot(GALLERY, "{snapshot_id}")],
    "remove_subject": [calls.remove_subject(GALLERY, "{subject}")],
    "remove_template": [calls.remove_template(GALLERY, "{template_id}")],
    "replace": [calls.replace(GALLERY, ["ann"], ROWS[:1], space="a", **KEPT)],
    "replace_set": [calls.replace_set(GALLERY, b"", metadata="site")],
    "restore": [calls.restore(GALLERY, "1")],
    "revoke_key": [calls.revoke_key(KEY)],
    "rotate_key": [calls.rotate_key(KEY, keep_seconds=1.0)],
    "routes": [calls.routes("a", "b")],
    "snapshot": [calls.snapshot(GALLERY, "{snapshot_id}")],
    "snapshots": [calls.snapshots(GALLERY)],
    "spaces": [calls.spaces()],
    "take_snapshot": [calls.take_snapshot(GALLERY)],
    "template": [calls.template(GALLERY, "{template_id}")],
    "templates": [calls.templates(GALLERY, "a", subject="ann", limit=5)],
    "translate": [calls.translate(ROWS, source="a", target="b", trust=TRUST)],
    "translate_with_confidence": [calls.translate_with_confidence(ROWS, source="a", target="b", trust=TRUST)],
    "verdict": [calls.verdict(JOB), calls.verdict(JOB, is_page=True)],
    "verify": [
        calls.verify(
            PICTURE, ROWS[0], space_a="a", space_b="b", modality_a="photo", modality_b="photo", trust=TRUST, **DRAWN
        )
    ],
}
"""Every call, with everything that can be said in it but rates; names in paths as the service's templates have them."""


def place(call: Call[Any]) -> tuple[str, str]:
    """Method and path."""
    return call.method, unquote(call.path)


EVERY = [call for some in ASKED.values() for call in some]
WRITES = {place(call) for call in EVERY if "idempotency-key" in call.headers}


def functions() -> set[str]:
    return {name for name, _ in inspect.getmembers(calls, inspect.isfunction)}


def test_everything_that_can_be_asked_is_listed() -> None:
    assert functions() == set(ASKED) == set(calls.__all__) - {"NPY", "NPZ", "PARQUET", "Rows"}


def test_of_every_route_there_is_a_call_and_no_call_asks_anything_else() -> None:
    routes = {(method, path.replace(":path}", "}")) for method, path in NEEDS}
    routes |= {("GET", path) for path in OPEN - FOR_BROWSERS}
    assert {place(call) for call in EVERY} == routes


@pytest.fixture(scope="module")
def document() -> Iterator[dict[str, Any]]:
    """OpenAPI, as this service answers it."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(bundles=Path(folder), data=Path(folder) / "data"), store=OracleGalleryStore())
        yield app.openapi()


def operation(document: dict[str, Any], call: Call[Any]) -> dict[str, Any]:
    method, path = place(call)
    found: dict[str, Any] = document["paths"][path][method.lower()]
    return found


def properties(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]["properties"]
    return found


def is_nullable(described: dict[str, Any]) -> bool:
    return any(one.get("type") == "null" for one in described.get("anyOf", ()))


BINARY_ALONE = {
    ("POST", "/galleries/{gallery}/templates"): {"space", "subject"},
    ("PUT", "/galleries/{gallery}/templates"): {"space", "subject"},
}
"""Of `.npy`, which says no more than JSON does."""


@pytest.mark.parametrize("call", EVERY, ids=lambda call: " ".join(place(call)))
def test_all_that_a_query_can_say_can_be_said(document: dict[str, Any], call: Call[Any]) -> None:
    if call.json is not None or place(call)[1] in OPEN:
        return
    described = {one["name"] for one in operation(document, call).get("parameters", ()) if one["in"] == "query"}
    # A feature set says itself of which space and modality it is.
    own = {"space", "modality"} if call.media_type == calls.NPZ else set()
    assert set(call.query) | own == described - BINARY_ALONE.get(place(call), set()) | own


def test_binary_searches_say_as_much_as_they_can(document: dict[str, Any]) -> None:
    (many,) = ASKED["identify_many"]
    assert {"where", "filter", "on_low", "min_confidence", "samples", "seed", "modality"} <= set(many.query)


BODIES = {
    "attributes": "AttributesRequest",
    "create_gallery": "CreateGalleryRequest",
    "enrol": "EnrolRequest",
    "erase": "EraseRequest",
    "identify": "IdentifyRequest",
    "identify_closed_set": "ClosedSetRequest",
    "make_key": "MakeKeyRequest",
    "migrate": "MigrationRequest",
    "replace": "EnrolRequest",
    "restore": "RestoreRequest",
    "rotate_key": "RotateKeyRequest",
    "translate_with_confidence": "TranslateRequest",
    "verify": "VerifyRequest",
}
INNER = {
    "ClosedSetProbe": ("identify_closed_set", "probe"),
    "FilterBody": ("identify", "filter"),
    "KeepBody": ("enrol", "attributes"),
    "TellBody": ("identify", "attributes"),
    "TrustBody": ("verify", "trust"),
}
RATES = {"fmr", "fpir"}
"""One of the two; they are said below."""


@pytest.mark.parametrize("name", sorted(BODIES))
def test_all_that_a_body_can_say_can_be_said(document: dict[str, Any], name: str) -> None:
    (call,) = ASKED[name]
    assert set(call.json) | {"mode"} == (set(properties(document, BODIES[name])) - RATES) | {"mode"}


@pytest.mark.parametrize("schema", sorted(INNER))
def test_all_that_stands_in_a_body_can_be_said(document: dict[str, Any], schema: str) -> None:
    name, field = INNER[schema]
    assert set(ASKED[name][0].json[field]) == set(properties(document, schema))


def test_a_sample_is_a_feature_or_a_picture(document: dict[str, Any]) -> None:
    (compared,) = ASKED["verify"]
    assert set(compared.json["a"]) | set(compared.json["b"]) == set(properties(document, "ComparedProbe"))
    assert set(compared.json["a"]) & set(compared.json["b"]) == {"space", "modality"}
    assert compared.json["a"]["image"] == base64_of(PICTURE.data)
    assert compared.json["a"]["landmarks"] == [[30.0, 40.0], [70.0, 40.0], [50.0, 60.0], [35.0, 80.0], [65.0, 80.0]]
    (painted,) = ASKED["reconstruct"]
    assert set(painted.json) | {"feature"} == set(properties(document, "ProbeBody"))
    seen, sent = ASKED["enrol"][0].json["templates"][0], ASKED["replace"][0].json["templates"][0]
    assert set(seen) | set(sent) == set(properties(document, "NewTemplateBody"))
    as_array = Picture(PICTURE.data, np.array(PICTURE.landmarks, dtype=np.float32))
    assert calls.reconstruct(as_array, space="a").json == painted.json


@pytest.mark.parametrize("rate", sorted(RATES))
def test_a_rate_is_sent(rate: str) -> None:
    asked: dict[str, Any] = {rate: 0.01}
    assert calls.identify("people", ROWS[0], space="a", **asked).json[rate] == 0.01
    assert calls.identify_many("people", ROWS, space="a", **asked).query[rate] == 0.01
    assert calls.identify_set("people", b"", **asked).query[rate] == 0.01


def test_what_is_not_said_is_not_sent() -> None:
    probe = {"space": "a", "feature": ROWS[0].astype(np.float32).tolist()}
    assert calls.identify("people", ROWS[0], space="a").json == {"gallery": "people", "probe": probe, "top_k": 10}
    assert calls.verify(ROWS[0], ROWS[0], space_a="a", space_b="a").json == {"a": probe, "b": probe}
    asked = calls.identify("people", ROWS[0], space="a", filter=Filter(0.1, has=["hat"])).json["filter"]
    assert asked == {"error": 0.1, "has": ["hat"]}
    assert calls.migrate("people", "b").json == {"target": "b"}
    assert calls.order("1", "cutover").json is None
    assert calls.rotate_key("1").json is None
    # That it is asked for says enough.
    assert calls.identify("people", ROWS[0], space="a", attributes=TellAttributes()).json["attributes"] == {}
    assert calls.enrol("people", ["ann"], [PICTURE], space="a", attributes=KeepAttributes()).json["attributes"] == {}


def test_what_the_service_does_once_has_a_name_and_nothing_else_has() -> None:
    changing = {place(call) for call in EVERY if call.method != "GET"}
    not_once = {("POST", path) for path in ("/translate", "/verify", "/identify", "/attributes", "/reconstruct")}
    # A secret is told once, and probes are counted each time they are sent.
    not_once |= {("POST", "/keys"), ("POST", "/keys/{key_id}/rotate"), ("DELETE", "/keys/{key_id}")}
    not_once |= {("POST", "/jobs/{job_id}/probes")}
    assert changing - not_once == WRITES


READ: dict[type[Answer], str] = {
    answers.Arriving: "ArrivingView",
    answers.AttributeErrors: "AttributeView",
    answers.Bundle: "BundleView",
    answers.Bundles: "BundleList",
    answers.Candidate: "CandidateView",
    answers.ConfidenceMeaning: "ConfidenceView",
    answers.Drawn: "DrawnView",
    answers.Found: "IdentifyResult",
    answers.IdentifiedClosedSet: "ClosedSetResponse",
    answers.KnownPerson: "KnownPerson",
    answers.ListedRoute: "ListedRoute",
    answers.ListedSpace: "ListedSpace",
    answers.Probable: "ProbableView",
    answers.Rejected: "RejectedView",
    answers.Route: "RouteView",
    answers.Sampling: "SamplingView",
    answers.SearchedMany: "IdentifyBatchResponse",
    answers.Space: "SpaceView",
    answers.Tells: "TellsView",
    answers.Told: "ToldView",
    answers.TranslatedWithConfidence: "TranslateResponse",
    answers.UsedCondition: "ConditionView",
    answers.UsedFilter: "FilterView",
    answers.UsedPoint: "OperatingPointView",
    answers.Verified: "VerifyResponse",
    gallery_answers.Backlog: "BacklogView",
    gallery_answers.Check: "CheckView",
    gallery_answers.CheckReport: "CheckReport",
    gallery_answers.Duplicate: "DuplicateView",
    gallery_answers.Enrolled: "EnrolResponse",
    gallery_answers.Gallery: "GalleryView",
    gallery_answers.Generation: "GenerationView",
    gallery_answers.Index: "IndexView",
    gallery_answers.Kept: "KeptView",
    gallery_answers.Snapshot: "SnapshotView",
    gallery_answers.Template: "TemplateView",
    gallery_answers.TemplatePage: "TemplateList",
    job_answers.Gate: "GateView",
    job_answers.Job: "JobView",
    job_answers.JobPage: "JobList",
    job_answers.JobRoute: "JobRoute",
    job_answers.Named: "SpaceView",
    job_answers.NamedBundle: "NamedBundle",
    job_answers.Numbers: "ProgressView",
    service_answers.AuditPage: "AuditPage",
    service_answers.Health: "Health",
    service_answers.Key: "KeyView",
    service_answers.MadeKey: "MadeKeyView",
    service_answers.Readiness: "Readiness",
    service_answers.Secret: "SecretView",
}
NOT_AS_IT_COMES = {answers.Answer, answers.Translated, answers.Trusted, answers.Search, answers.Identified}
"""Parts of the others, what comes in `.npy`, and what is made of one answer or of a row of another; that is looked at below."""


def test_every_answer_is_held_against_its_schema() -> None:
    modules = (answers, gallery_answers, job_answers, service_answers)
    every = {
        one for module in modules for _, one in inspect.getmembers(module, inspect.isclass) if issubclass(one, Answer)
    }
    assert every - NOT_AS_IT_COMES == set(READ)


@pytest.mark.parametrize("model", [pytest.param(model, id=model.__name__) for model in READ])
def test_all_that_is_answered_is_kept(document: dict[str, Any], model: type[Answer]) -> None:
    assert_alike(model, properties(document, READ[model]))


def test_all_that_an_identification_answers_is_kept(document: dict[str, Any]) -> None:
    # With the key of a picture, which one of several has.
    described = properties(document, "IdentifyResponse")
    assert_alike(answers.Identified, described | {"image": properties(document, "IdentifyResult")["image"]})


def assert_alike(model: type[Answer], described: dict[str, Any]) -> None:
    assert set(model.model_fields) == set(described)
    nullable = {name for name, one in described.items() if is_nullable(one)}
    read = {
        name for name, field in model.model_fields.items() if type(None) in getattr(field.annotation, "__args__", ())
    }
    assert nullable <= read
