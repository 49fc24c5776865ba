"""Everything that the client can ask is asked of a service, and what it reads is what was answered; and the README's example."""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest

from models.bundle import Sampling
from models.calibration import Calibration, ScoreScale
from models.operating_point import OperatingPoint, fpir_for_fmr
from models.space import InputPreparation, Space
from service.access.keys import SCOPES, make_key
from service.app import create_app
from service.client import (
    AsyncClient,
    Client,
    Filter,
    KeepAttributes,
    Picture,
    ProblemError,
    TellAttributes,
    Trust,
    calls,
)
from service.client.answers import Answer
from service.client.call import Call
from service.settings import Settings
from tests.api.test_attributes import write_attributes
from tests.api.test_closed_set import PEOPLE, write_classifier
from tests.api.test_migrations import LOOSE
from tests.api.test_sampling import NUM_NOISE, sampler_graph
from tests.api.world import (
    A_TO_B,
    COLOURS_TO_A,
    A,
    B,
    by_hand,
    encoded_by_hand,
    encoder_graph,
    feature_set,
    features,
    generator_graph,
    picture_bytes,
    running,
    write,
    write_world,
)
from tests.by_hand import confidence_model
from tests.serving import serving
from training.export.linear_graph import linear_graph

T = TypeVar("T")
README = Path(__file__).parents[4] / "README.md"
ROWS = features(40)
NAMES = [f"s{number // 2}" for number in range(len(ROWS))]
KEYS = [str(number) for number in range(len(ROWS))]
NORTH = [{"site": "north"}] * len(ROWS)
RED, GREY = Picture(picture_bytes((250, 10, 30))), Picture(picture_bytes((60, 60, 60), size=200))
FIVE_POINTS = [(70.0, 80.0), (130.0, 80.0), (100.0, 115.0), (75.0, 150.0), (125.0, 150.0)]


AS_ARRAYS = frozenset({"translate", "translate_with_confidence"})


def side_by_side(name: str, answer: Any, response: httpx.Response) -> tuple[list[Answer], list[dict[str, Any]]]:
    """What was read of an answer, and what was answered; nothing where that is not typed."""
    read = [one for one in (answer if isinstance(answer, tuple) else (answer,)) if isinstance(one, Answer)]
    if not read:
        return [], []
    told = response.json()
    if name == "identify":
        told["image"] = None
    elif "results" in told:
        results = told.pop("results")
        told = [told | one | {"attributes": None} for one in results]
    elif isinstance(answer, tuple) and isinstance(told, dict):
        (told,) = told.values()
    return read, told if isinstance(told, list) else [told]


class Asking:
    """A client that keeps which calls it sent, and holds what it read against what was answered."""

    def __init__(self, client: AsyncClient) -> None:
        self.client, self.asked = client, set[str]()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Sends the call of this name."""
        return partial(self._ask, name)

    async def _ask(self, name: str, /, *args: Any, **options: Any) -> Any:
        self.asked.add(name)
        call: Call[Any] = getattr(calls, name)(*args, **options)
        seen: list[httpx.Response] = []

        def read(response: httpx.Response) -> Any:
            seen.append(response)
            return call.read(response)

        answer = await self.client(replace(call, read=read))
        if name not in AS_ARRAYS:
            for one, told in zip(*side_by_side(name, answer, seen[0]), strict=True):
                assert one.model_dump(mode="json") == told
        return answer


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Asking]:
    """Of a service with keys, an audit log and bundles of every kind."""
    folder = write_world(tmp_path / "bundles")
    write_attributes(folder / "shown")
    write_classifier(folder / "drawn", modality="photo")
    write(folder / "paints", generator_graph(8), A, B, kind="generator", method="r3an")
    write(
        folder / "sketches",
        sampler_graph(),
        A,
        B,
        kind="sampler",
        method="wsgan",
        modality="sketch",
        sampling=Sampling(NUM_NOISE, 5, 0.25),
    )
    key = make_key(tmp_path / "keys.json", "everything", SCOPES).text
    app = create_app(Settings(bundles=folder, data=tmp_path, device="cpu", allow_reconstruction=True))
    async with (
        app.router.lifespan_context(app),
        AsyncClient("http://faces", key, transport=httpx.ASGITransport(app)) as client,
    ):
        yield Asking(client)


async def test_everything_can_be_asked(ask: Asking) -> None:
    for some in (put_in, look_up, search, search_by_pictures, compare, keep, migrate, look_after):
        await some(ask)
    assert ask.asked == set(calls.__all__) - {"NPY", "NPZ", "PARQUET", "Rows"}


async def put_in(ask: Asking) -> None:
    """Forty features, three pictures, a feature set; some of them twice."""
    assert (await ask.create_gallery("people", space="a", index="flat")).num_templates == 0
    done = await ask.enrol("people", NAMES, ROWS, space="a", keys=KEYS, metadata=NORTH)
    assert (len(done.template_ids), done.route.bundles, done.attributes) == (len(ROWS), (), None)
    pictures = [RED, Picture(GREY.data, FIVE_POINTS), ROWS[0]]
    kept = await ask.enrol(
        "people", ["red", "grey", "s0"], pictures, space="a", attributes=KeepAttributes(["red"], "shown")
    )
    assert (kept.attributes.num_told, kept.num_replaced) == (2, 0)
    again = await ask.replace(
        "people", ["s0", "red"], [ROWS[0], RED], space="a", keys=["0", "new"], metadata=[*NORTH[:1], {}]
    )
    assert (again.num_replaced, again.generation) == (1, 1)
    sent = feature_set(A, features(2, seed=9), ["new", "new"])
    assert (await ask.enrol_set("people", sent)).num_replaced == 0
    assert (await ask.replace_set("people", sent, media_type=calls.NPZ)).num_replaced == 2
    with pytest.raises(ProblemError) as refused:
        await ask.enrol_set("people", sent)
    assert refused.value.status == 409


async def look_up(ask: Asking) -> None:
    found = await ask.gallery("people")
    assert (found.num_templates, found.space.dimension, found.index.kind, found.beside) == (46, 8, "flat", ())
    assert await ask.galleries() == (found,)
    page = await ask.templates("people", limit=30)
    rest = await ask.templates("people", page.next_cursor)
    assert (len(page.templates), len(rest.templates), rest.next_cursor) == (30, 16, None)
    (red,) = [one for one in rest.templates if one.subject == "red" and one.attributes]
    assert (await ask.template("people", red.template_id)) == red
    (shown,) = red.attributes.values()
    assert shown["red"] > 0.99
    assert {one.key for one in (await ask.templates("people", subject="s3")).templates} == {"6", "7"}


async def search(ask: Asking) -> None:
    """By features."""
    found = await ask.identify("people", ROWS[6], space="a", where={"site": ["north", "south"]}, trust=Trust())
    assert (found.candidates[0].subject, found.decision, found.flagged, found.fmr) == (NAMES[6], None, False, None)
    fpir = fpir_for_fmr(0.01, len(ROWS))
    nobody = await ask.identify("people", -ROWS[6], space="a", fpir=fpir, where={"site": "north"}, top_k=1)
    assert (nobody.fpir, nobody.fmr) == (fpir, pytest.approx(0.01))
    assert nobody.decision == ("match" if nobody.candidates else "nobody")
    many = await ask.identify_many("people", ROWS[:5], space="a", fmr=0.01, top_k=3, where={"site": "north"})
    assert [one.candidates[0].subject for one in many] == NAMES[:5]
    assert {(one.decision, one.image, one.generation, one.operating_points[0].threshold) for one in many} == {
        ("match", None, 1, 0.125)
    }
    of_set = await ask.identify_set("people", feature_set(A, ROWS[:2], ["", ""]), top_k=1, trust=Trust("pass", 0.5))
    assert [(one.image, one.candidates[0].subject) for one in of_set] == [("p0", "s0"), ("p1", "s0")]
    with pytest.raises(ProblemError, match="invalid-request"):
        await ask.identify_many("people", ROWS[:1], space="a", where={"site": {"at_least": "x"}})


async def search_by_pictures(ask: Asking) -> None:
    """By what is on them, and by what they show."""
    asked = Filter(0.05, has=["red"], bundle="shown")
    found = await ask.identify("people", RED, space="a", filter=asked, attributes=TellAttributes("shown"))
    assert found.candidates[0].subject == "red"
    assert found.candidates[0].score == pytest.approx(1.0)
    (used,) = found.filter.conditions
    assert (used.name, used.has, used.threshold, used.num_told) == ("red", True, 0.2, 2)
    assert found.attributes.bundle == "shown"
    assert await ask.attributes(RED, modality="photo") == found.attributes
    alike = await ask.identify("people", RED, space="a", filter=Filter(0.05, alike=["red"]), top_k=50)
    assert "grey" not in {one.subject for one in alike.candidates}
    (one,) = await ask.identify_many("people", ROWS[:1], space="a", filter=asked, top_k=50)
    assert "grey" not in {each.subject for each in one.candidates}
    landmarks = await ask.identify("people", Picture(GREY.data, FIVE_POINTS), space="a", modality="photo", top_k=1)
    assert landmarks.candidates[0].score == pytest.approx(1.0)
    known = await ask.identify_closed_set(RED, modality="photo", top_k=2, bundle="drawn")
    assert (known.num_people, len(known.candidates)) == (len(PEOPLE), 2)
    with pytest.raises(ProblemError) as refused:
        await ask.identify("people", Picture(b"no picture"), space="a")
    assert refused.value.status == 422


async def compare(ask: Asking) -> None:
    compared = await ask.verify(ROWS[0], ROWS[0], space_a="a", space_b="a", fmr=0.01)
    assert (compared.score, compared.decision, compared.fnmr) == (pytest.approx(1.0), "match", 0.02)
    seen = await ask.verify(RED, encoded_by_hand(RED.data), space_a="a", space_b="a", trust=Trust("flag", 0.5))
    assert (seen.score, seen.route.bundles, seen.sampling) == (pytest.approx(1.0, abs=1e-5), (), None)
    sketched = await ask.verify(
        ROWS[0], ROWS[1], space_a="a", space_b="a", modality_a="photo", modality_b="photo", fmr=0.01
    )
    assert sketched.decision in ("match", "non-match")
    of_b = by_hand(ROWS[:1], A_TO_B)[0]
    drawn = await ask.verify(ROWS[0], of_b, space_a="a", space_b="b", modality_a="sketch", samples=7, seed=3)
    assert (drawn.sampling.samples, drawn.sampling.seed, drawn.route.bundles) == (7, 3, ("sketches",))
    translated = await ask.translate(ROWS[:3], source="a", target="b")
    assert (translated.route, translated.flagged) == (("a-to-b",), ())
    assert np.allclose(translated.features, by_hand(ROWS[:3], A_TO_B), atol=1e-5)
    told = await ask.translate_with_confidence(ROWS[:3], source="a", target="b", trust=Trust())
    assert np.allclose(told.features, translated.features, atol=1e-6)
    assert (told.route.target.name, told.confidence, told.flagged) == ("b", None, ())
    assert (await ask.reconstruct(ROWS[0], space="a")).startswith(b"\x89PNG")
    assert {(one.name, one.encoder) for one in await ask.spaces()} >= {("a", "encode-a"), ("b", None)}
    (way,) = [one for one in await ask.routes("a", "b") if one.modality is None]
    assert (way.bundles, way.quality) == (("a-to-b",), 0.9)
    served = {one.name: one for one in (await ask.bundles()).bundles}
    assert (served["sketches"].sampling.samples, served["shown"].tells.label) == (5, "shade")
    assert "/translate" in (await ask.openapi())["paths"]


async def keep(ask: Asking) -> None:
    """Snapshots, erasures, checks."""
    snapshot = await ask.take_snapshot("people")
    assert snapshot.num_templates == 46
    assert await ask.snapshots("people") == (await ask.snapshot("people", snapshot.snapshot_id),) == (snapshot,)
    (first,) = (await ask.templates("people", limit=1)).templates
    await ask.remove_template("people", first.template_id)
    assert await ask.remove_subject("people", "new") == 2
    (receipt,) = await ask.erase("people", ["s1"])
    assert receipt["signature"]
    assert (await ask.restore("people", snapshot.snapshot_id)).num_templates == 44
    report = await ask.check("people")
    assert report.is_sound
    assert all(one.is_sound for one in report.checks)
    await ask.remove_snapshot("people", snapshot.snapshot_id)
    assert await ask.snapshots("people") == ()


async def migrate(ask: Asking) -> None:
    job = await ask.migrate("people", "b", gates=LOOSE, mode="mixed", cutover="manual", keep_seconds=60.0)
    assert (job.mode, job.keep_seconds, job.source.fingerprint) == ("mixed", 60.0, A.fingerprint)
    for _ in range(1000):
        job = await ask.job(job.job_id)
        if job.state == "ready":
            break
        await asyncio.sleep(0.02)
    assert [one.job_id for one in (await ask.jobs("people", limit=1)).jobs] == [job.job_id]
    assert b"signature" in await ask.verdict(job.job_id)
    assert b"<html" in await ask.verdict(job.job_id, is_page=True)
    with pytest.raises(ProblemError, match="invalid-request"):
        await ask.judge_by_probes(job.job_id, b"none")
    probes = feature_set(A, np.concatenate([ROWS[4:8], features(60, seed=5)]), [*NAMES[4:8], *["x"] * 60])
    assert (await ask.judge_by_probes(job.job_id, probes))["signature"]
    done = await ask.order(job.job_id, "cutover", force=True)
    assert done.state == "cut-over"
    left = await ask.backlog("people", limit=5)
    assert (left.num_native, left.num_translated, len(left.templates)) == (0, 44, 5)
    assert (await ask.order(job.job_id, "rollback", accept_missing=True)).state == "rolled-back"
    await ask.drop_gallery("people")


async def look_after(ask: Asking) -> None:
    """The service itself."""
    made = await ask.make_key("gate", scopes=["search"], days=1.0, probes_per_day=100)
    assert made.key
    assert made.key not in repr(made)
    keys = {one.name: one for one in await ask.keys()}
    assert (keys["gate"].scopes, keys["gate"].probes_per_day) == (("search",), 100)
    assert (await ask.revoke_key(made.key_id)).revoked_at
    rotated = await ask.rotate_key(keys["everything"].key_id, keep_seconds=3600.0)
    assert (rotated.name, len(rotated.secrets)) == ("everything", 2)
    first = await ask.audit(limit=2)
    assert [one["number"] for one in first.entries] == [1, 2]
    assert (await ask.audit(first.next_after)).entries[0]["number"] == 3
    assert "facebridge_" in await ask.metrics()
    assert (await ask.live()).status == "ok"
    ready = await ask.ready()
    assert (ready.num_bundles, ready.num_rejected) == (9, 0)


async def test_confidence_is_kept(tmp_path: Path) -> None:
    """Whatever way features are translated."""
    rows = np.eye(8)[:3] * [[1.0], [1.0], [1.0]] + [[0.6, 0.8, *[0.0] * 6], [0.0] * 8, [-1.6, 0.8, *[0.0] * 6]]
    stats = confidence_model(8, 16).to_bytes()
    write(tmp_path / "bundles" / "a-to-b", linear_graph(A_TO_B, 8), A, B, quality=0.9, more={"stats.npz": stats})
    app = create_app(Settings(bundles=tmp_path / "bundles", data=tmp_path / "data"))
    body = {"source": "a", "target": "b", "features": rows.astype(np.float32).tolist(), "trust": {"min_confidence": 1}}
    async with running(app) as raw:
        expected = (await raw.post("/translate", json=body)).json()
        async with AsyncClient("http://faces", transport=httpx.ASGITransport(app)) as client:
            trust = Trust(min_confidence=1.0)
            told = await client(calls.translate_with_confidence(rows, source="a", target="b", trust=trust))
            plain = await client(calls.translate(rows, source="a", target="b", trust=trust))
            many = np.repeat(rows, 50, axis=0)
            long = await client(calls.translate(many, source="a", target="b", trust=trust))
            await client(calls.create_gallery("people", space="b"))
            done = await client(calls.enrol("people", ["ann"] * 3, rows, space="a"))
            found = await client(calls.identify("people", rows[0], space="a", trust=trust))
            compared = await client(calls.verify(rows[0], features(1, 16)[0], space_a="a", space_b="b", trust=trust))
            with pytest.raises(ProblemError, match="low-confidence"):
                await client(calls.translate(rows, source="a", target="b", trust=Trust("refuse", 1.0)))
    assert told.confidence is not None
    assert told.confidence.tolist() == pytest.approx(expected["confidence"])
    assert told.flagged == tuple(expected["flagged"]) == plain.flagged
    assert plain.num_flagged == len(plain.flagged) > 0
    assert long.num_flagged == 50 * len(plain.flagged) > len(long.flagged) == 100
    assert np.allclose(plain.features, told.features, atol=1e-6)
    assert set(done.flagged) <= set(told.flagged)
    for one in (found, compared):
        assert one.confidence == pytest.approx(expected["confidence"][0])
        assert one.flagged == (0 in told.flagged)


class Elsewhere(httpx.HTTPTransport):
    """Sends to another address what is meant for that of the README."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = httpx.URL(url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert (request.url.host, request.url.port) == ("localhost", 8000)
        request.url = request.url.copy_with(host=self._url.host, port=self._url.port)
        return super().handle_request(request)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A service that knows the README's space and decides at its rate; its address, and a key."""
    edge = Space("edge", 8, "sha256:" + "e" * 64, InputPreparation())
    points = (OperatingPoint(fmr=1e-3, threshold=0.9, fnmr=0.1, num_genuine=800, num_impostors=319_600),)
    scale = ScoreScale((-1.0, 0.5, 0.9), (1.0, 1e-2, 1e-3), (0.0, 0.05, 0.1), (-2.0, 1.0, 3.0), 800, 319_600)
    kinds = ("native-source", "translated")
    calibration = Calibration(dict.fromkeys(kinds, points), counted="people", scales=dict.fromkeys(kinds, scale))
    graph = linear_graph(A_TO_B, 8)
    write(tmp_path / "bundles" / "edge-to-b", graph, edge, B, quality=0.9, calibration=calibration)
    write(tmp_path / "bundles" / "encode-edge", encoder_graph(COLOURS_TO_A), None, edge)
    data = tmp_path / "data"
    data.mkdir()
    key = make_key(data / "keys.json", "everything", SCOPES).text
    with serving(tmp_path / "bundles", data) as started:
        yield started.url, key


def test_the_readmes_example_does_what_it_says(served: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    url, key = served
    section = README.read_text(encoding="utf-8").partition("\n### From Python\n")[2].partition("\n### ")[0]
    (block,) = re.findall(r"^```python\n(.+?)^```$", section, re.MULTILINE | re.DOTALL)
    jpeg = RED.data
    feature_ND = encoded_by_hand(jpeg)[None]
    with Client(url, key) as client:
        client(calls.create_gallery("people", space="edge"))
    monkeypatch.setattr("service.client.Client", partial(Client, transport=Elsewhere(url)))
    names = {"key": key, "feature_ND": feature_ND, "probe_D": 2 * feature_ND[0], "jpeg": jpeg}
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(block, str(README), "exec"), names)
    first, second = printed.getvalue().splitlines()
    assert first.startswith("match [('ann', ")
    assert float(first.removeprefix("match [('ann', ").removesuffix(")]")) == pytest.approx(1.0, abs=1e-5)
    decision, score, log10_likelihood_ratio = second.split()
    assert float(score) == pytest.approx(1.0, abs=1e-5)
    assert (decision, log10_likelihood_ratio) == ("match", "3.0")
