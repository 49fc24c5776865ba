"""Enrolment over HTTP: clients in a process of their own, on the cores of the service."""

import base64
import json
import multiprocessing
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from benchmarks.document import table
from benchmarks.faces import Faces
from benchmarks.serving import BUNDLES, SECONDS, Request, ask, serving
from models.bundle import read_bundle
from models.feature_set import FeatureSet, write_npz
from models.features import FloatArray
from models.space import Space

ROUNDS = 3
BODIES = 64
FILE_TEMPLATES, FILES = 10_000, 8
NAME = "people"


_PATH = f"/galleries/{NAME}/templates"
_FILE = Request(
    f"{FILE_TEMPLATES:,} templates, a feature set in `.npz`, names in order",
    "POST",
    _PATH,
    num_each=FILE_TEMPLATES,
    media_type="application/x-npz",
    clients=1,
    is_once=True,
)
_UNORDERED_FILE = replace(_FILE, what=_FILE.what.replace("in order", "as they fall"))


def measure(_: Faces) -> str:
    """The service of the demo's spaces, asked by clients that wait for each answer before they ask again."""
    space = read_bundle(BUNDLES / "cloud").manifest.target
    rng = np.random.default_rng(0)
    requests = _requests(space, rng)
    with tempfile.TemporaryDirectory(dir=".") as folder, serving(Path(folder)) as served:
        port = served.port
        body = json.dumps({"name": NAME, "space": space.name}).encode()
        _ask(port, Request("", "POST", "/galleries", (body,), clients=1, is_once=True))
        with multiprocessing.get_context("spawn").Pool(1) as clients:
            rounds = []
            for turn in range(ROUNDS):
                first = turn * FILES * FILE_TEMPLATES
                files = replace(_FILE, bodies=_files(space, rng, np.arange(first, first + FILES * FILE_TEMPLATES)))
                names = rng.integers(1 << 62, size=FILES * FILE_TEMPLATES)
                unordered = replace(_UNORDERED_FILE, bodies=_files(space, rng, names))
                rounds.append([clients.apply(_ask, (port, request)) for request in (*requests, files, unordered)])
    rows = []
    for request, answers in zip((*requests, _FILE, _UNORDERED_FILE), zip(*rounds, strict=True), strict=True):
        rate, p50_ms = (median(column) for column in zip(*answers, strict=True))
        templates = f"**{rate * request.num_each:,.0f}**" if request.method == "POST" else ""
        rows.append([request.what, f"{request.clients}", f"{rate:,.0f}", templates, f"{p50_ms:.1f}"])
    head = (
        f"Features of {space.dimension} numbers, the clients in a process of their own on the cores of the service; medians of "
        f"{ROUNDS} rounds of {SECONDS:.0f} s, {FILES} requests for a file, all by turns. "
        "An answer comes after the sync of what it is about."
    )
    return f"{head}\n\n{table(['request', 'clients', 'answers a second', 'templates a second', 'p50, ms'], rows)}"


def _requests(space: Space, rng: np.random.Generator) -> list[Request]:
    rows = rng.standard_normal((BODIES, space.dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    def body(features: list[object]) -> bytes:
        templates = [{"subject": f"subject-{number}", "feature": feature} for number, feature in enumerate(features)]
        return json.dumps({"space": space.name, "templates": templates}).encode()

    coded: list[object] = [base64.b64encode(row.tobytes()).decode() for row in rows]
    listed: list[object] = [row.tolist() for row in rows]
    return [
        Request("`GET /healthz/live`, what asking costs by itself", "GET", "/healthz/live"),
        Request("one template, numbers in JSON", "POST", _PATH, [body([one]) for one in listed]),
        Request("one template, base64 in JSON", "POST", _PATH, [body([one]) for one in coded]),
        Request("64 templates, base64 in JSON", "POST", _PATH, [body(coded)], num_each=BODIES),
    ]


def _files(space: Space, rng: np.random.Generator, numbers: npt.NDArray[np.int64]) -> list[bytes]:
    """Feature sets of pictures and people of these numbers, one of each."""
    files = []
    for some in np.split(numbers, FILES):
        rows: FloatArray = rng.standard_normal((FILE_TEMPLATES, space.dimension)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        names = np.array([f"person-{number:016x}" for number in some])
        files.append(write_npz(FeatureSet.build(space, {"feature": rows, "image": names, "subject": names})))
    return files


def _ask(port: int, request: Request) -> tuple[float, float]:
    """Answers a second, and the median of their milliseconds."""
    *every, seconds = ask(port, request)
    return len(every) / seconds, median(every) * 1000
