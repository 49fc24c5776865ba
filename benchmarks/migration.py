"""A gallery of a million templates goes to another space: how fast, beside what a model does by itself and what extracting again
would take; and what those notice who ask meanwhile.

People who do not exist. G templates, D dimension.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx
import numpy as np

from benchmarks.document import table
from benchmarks.faces import Faces
from benchmarks.galleries import BATCH, DIMENSION, TEMPLATES, people
from models.adapters import ResidualMLP
from models.backbones import BACKBONES
from models.feature_set import FeatureSet
from models.features import FloatArray, unit_features
from models.r3an import Extractor, Generator, R3ANTranslator
from models.runtime import Session
from models.space import Space
from service.entities import NewTemplates, Route, RouteStep
from service.galleries.embedded import EmbeddedGalleryStore
from service.inference.blocking import BlockingRoute, BlockingStep
from service.inference.inference import Inference
from service.inference.loading import OnnxEngines, load_bundles
from service.usecases.filling import Filler
from training.data.feature_set_files import save_feature_set
from training.export.torch_graph import encoder_torch_graph, torch_graph
from training.trainers.encoder import TorchEncoder
from training.trainers.torch_translator import TorchTranslator

OLD, NEW = Space("old", DIMENSION, "external:old"), Space("new", DIMENSION, "external:new")
NAME = "people"
FEW = 2048
"""Templates that R3AN translates, in each round."""
ROUNDS = 3
SIDE = 224
PICTURES = 4
SECONDS = 8.0
CLIENTS = 4
IDLE_SECONDS, BUSY_SECONDS = 20.0, 60.0


def measure(_: Faces) -> str:
    """Everything in one run."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        root = Path(folder)
        bundles = _fitted(root)
        features_GD = people(TEMPLATES, 2)
        linear, resnet = _linear(root, bundles, features_GD), _extraction()
        own, bare, student = _r3an(root, features_GD[:FEW])
        clients = _asked_meanwhile(root / "served", bundles)
    idle, migrating, judging = (clients.quantiles(phase) for phase in ("idle", "filling", "judging"))
    rows = [
        [
            f"ridge, {TEMPLATES:,} x {DIMENSION}: read, translate, tell confidence, commit, make searchable",
            f"**{linear:,.0f}** a second",
            ">= 30,000",
        ],
        ["times as fast as a ResNet-101 extracts, on this machine, now", f"**{linear / resnet:,.0f}**", ">= 100"],
        [f"R3AN, share of its bare ONNX Runtime rate ({bare:,.0f} a second)", f"**{own / bare:.2f}**", ">= 0.85"],
        ["R3AN's student", f"{student:,.0f} a second", ""],
        [
            f"identify, {CLIENTS} clients: p99 while it is filled, times that of before ({idle[1]:.0f} ms)",
            f"**{migrating[1] / idle[1]:.2f}**",
            "<= 2",
        ],
        ["the same while it is judged", f"**{judging[1] / idle[1]:.2f}**", "<= 2"],
        [
            "p50 before, while it is filled, while it is judged",
            f"{idle[0]:.0f}, {migrating[0]:.0f}, {judging[0]:.0f} ms",
            "",
        ],
        ["requests that failed", f"**{clients.num_failed}**", "0"],
    ]
    text = (
        f"A ResNet-101 extracts {resnet:,.1f} pictures of {SIDE} x {SIDE} a second, prepared beforehand. R3AN: medians of "
        f"{ROUNDS} rounds of {FEW:,} templates, bare and in a migration by turns, random weights. Asked over HTTP, a gallery of "
        f"{TEMPLATES:,}, clients that wait for each answer before they ask again; with `--migration-share` as it is by default."
    )
    return f"{text}\n\n{table(['what', 'figure', 'wanted'], rows)}"


def _fitted(root: Path) -> Path:
    """A folder of one bundle: a ridge map with all that a bundle has, of people who are in no gallery."""
    rng = np.random.default_rng(0)
    raw = np.repeat(rng.standard_normal((2000, DIMENSION)), 3, axis=0) + 0.6 * rng.standard_normal((6000, DIMENSION))
    rows = unit_features(raw.astype(np.float32))
    images = np.array([f"{row}.jpg" for row in range(len(rows))])
    subjects = np.array([f"p{row // 3}" for row in range(len(rows))])
    for space, feature in ((OLD, rows), (NEW, _seen_by_the_new(rows))):
        columns = {"feature": feature, "image": images, "subject": subjects}
        save_feature_set(FeatureSet.build(space, columns), root / f"{space.name}.npz")
    arguments = ["fit", "--source", str(root / "old.npz"), "--target", str(root / "new.npz"), "--method", "ridge"]
    out = root / "bundles" / "old-to-new"
    subprocess.run([sys.executable, "-m", "training", *arguments, "--out", str(out)], check=True, capture_output=True)
    return out.parent


def _seen_by_the_new(rows: FloatArray) -> FloatArray:
    turn = np.linalg.qr(np.random.default_rng(7).standard_normal((DIMENSION, DIMENSION)))[0].astype(np.float32)
    noise = 0.03 * np.random.default_rng(8).standard_normal(rows.shape).astype(np.float32)
    return unit_features(rows @ turn + noise)


def _gallery(folder: Path, features_GD: FloatArray) -> EmbeddedGalleryStore:
    store = EmbeddedGalleryStore(folder)
    store.create(NAME, OLD, index="flat")
    for start in range(0, len(features_GD), BATCH):
        part = features_GD[start : start + BATCH]
        names = [f"s{row // 3}" for row in range(start, start + len(part))]
        store.enrol(NAME, NewTemplates(names, part, OLD, part, OLD))
    return store


def _filled(store: EmbeddedGalleryStore, filler: Filler, route: Route) -> float:
    """Templates a second, until everybody is searchable in a new generation, which is dropped then."""
    started = time.perf_counter()
    number = store.generations.begin(NAME, NEW, job="measured", routes={}).number
    filler(NAME, number, lambda space: route)
    seconds = time.perf_counter() - started
    num = len(store.generations.confidences(NAME, number)) or store.get(NAME).num_templates
    assert num == store.get(NAME).num_templates
    store.generations.drop(NAME, number)
    return num / seconds


def _linear(root: Path, bundles: Path, features_GD: FloatArray) -> float:
    store = _gallery(root / "served", features_GD)
    inference = Inference(load_bundles(bundles, OnnxEngines("cpu", 1)), batch_rows=1, queue_rows=1, queue_pictures=1)
    filler = Filler(inference, store.generations)
    rate = _filled(store, filler, inference.catalog.route(OLD, NEW))
    store.close()
    return rate


@dataclass
class _Model:
    """A graph as a translator of a route; weights do not matter for speed."""

    session: Session
    max_rows: int = 4096
    device: str = "cpu"

    def prepare(self, item: FloatArray) -> FloatArray:
        """As it is."""
        return item

    def run(self, rows: FloatArray) -> FloatArray:
        """The model."""
        return self.session.run(rows)

    def finish(self, rows: FloatArray) -> FloatArray:
        """Unit features."""
        return unit_features(rows)

    def blocking(self, steps: Sequence[RouteStep]) -> BlockingRoute:
        """As a route of one translator."""
        return BlockingRoute([BlockingStep(steps[0].bundle, self, None)], DIMENSION, is_told=False)


def _r3an(root: Path, features_GD: FloatArray) -> tuple[float, float, float]:
    """Templates a second: in a migration, and bare at the batch size that suits it best; and its student in a migration."""
    r3an = R3ANTranslator(Generator(DIMENSION), Extractor(DIMENSION))
    model = _Model(Session(torch_graph(TorchTranslator(r3an), DIMENSION), device="cpu"))
    student = _Model(Session(torch_graph(TorchTranslator(ResidualMLP(DIMENSION, DIMENSION)), DIMENSION), device="cpu"))
    route = Route(OLD, NEW, (RouteStep("r3an", OLD, NEW),))
    store = _gallery(root / "few", features_GD)
    own, bare = [], []
    for _ in range(ROUNDS):
        bare.append(max(_rate(model.session, features_GD, batch) for batch in (64, 256, 1024)))
        own.append(_filled(store, Filler(model, store.generations), route))
    of_student = median(_filled(store, Filler(student, store.generations), route) for _ in range(ROUNDS))
    store.close()
    return median(own), median(bare), of_student


def _rate(session: Session, rows: FloatArray, batch: int) -> float:
    started = time.perf_counter()
    for start in range(0, len(rows), batch):
        session.run(rows[start : start + batch])
    return len(rows) / (time.perf_counter() - started)


def _extraction() -> float:
    """Pictures a second that a ResNet-101 makes features of."""
    graph = encoder_torch_graph(TorchEncoder(BACKBONES["resnet-101"](1.0, DIMENSION, SIDE)), (SIDE, SIDE))
    session = Session(graph, device="cpu")
    pictures = np.random.default_rng(0).normal(size=(PICTURES, 3, SIDE, SIDE)).astype(np.float32)
    session.run(pictures)
    started, num = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        session.run(pictures)
        num += PICTURES
    return num / (time.perf_counter() - started)


@dataclass
class _Clients:
    """Ask one after the other; `phase` says what for."""

    phase: str = ""
    is_over: bool = False
    seconds: dict[str, list[float]] = field(default_factory=dict)
    num_failed: int = 0

    async def ask(self, client: httpx.AsyncClient, bodies: Sequence[bytes]) -> None:
        """Until it is over; not without a phase."""
        place = 0
        while not self.is_over:
            if not self.phase:
                await asyncio.sleep(0.05)
                continue
            phase, started, place = self.phase, time.perf_counter(), place + 1
            body = bodies[place % len(bodies)]
            response = await client.post("/identify", content=body, headers={"content-type": "application/json"})
            self.seconds.setdefault(phase, []).append(time.perf_counter() - started)
            self.num_failed += response.status_code != 200

    def quantiles(self, phase: str) -> tuple[float, float]:
        """p50 and p99, in milliseconds."""
        p50, p99 = 1000 * np.quantile(self.seconds[phase], [0.5, 0.99])
        return float(p50), float(p99)


def _asked_meanwhile(data: Path, bundles: Path) -> "_Clients":
    """What clients saw before a migration, while a gallery is filled, and while it is judged."""
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--log-level", "error"]
    command += ["--bundles", str(bundles), "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            url = next(line.split()[2] for line in process.stdout if line.startswith("serving on"))
            return asyncio.run(_ask_meanwhile(url))
        finally:
            process.terminate()
            process.communicate()


async def _ask_meanwhile(url: str) -> _Clients:
    probes = people(512, 9)
    bodies = [
        json.dumps({"gallery": NAME, "top_k": 5, "probe": {"space": "old", "feature": row.tolist()}}).encode()
        for row in probes
    ]
    clients = _Clients()
    async with httpx.AsyncClient(base_url=url, timeout=120.0, trust_env=False) as client:
        tasks = [asyncio.create_task(clients.ask(client, bodies[place::CLIENTS])) for place in range(CLIENTS)]
        clients.phase = "warm"
        await asyncio.sleep(IDLE_SECONDS / 4)
        clients.phase = "idle"
        await asyncio.sleep(IDLE_SECONDS)
        job = (await client.post(f"/galleries/{NAME}/migrations", json={"target": "new"})).json()["job_id"]
        clients.phase = "filling"
        await asyncio.sleep(BUSY_SECONDS)
        assert (await client.get(f"/jobs/{job}")).json()["state"] == "running"
        # The rest goes faster without them.
        clients.phase = ""
        while (await client.get(f"/jobs/{job}")).json()["state"] == "running":
            await asyncio.sleep(0.1)
        clients.phase = "judging"
        while (await client.get(f"/jobs/{job}")).json()["state"] == "verifying":
            await asyncio.sleep(0.1)
        clients.is_over = True
        await asyncio.gather(*tasks)
    return clients
