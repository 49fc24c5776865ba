"""What keys, limits, the audit log, metrics and logs cost of throughput: the same service with and without them, by turns."""

import base64
import json
import multiprocessing
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.document import table
from benchmarks.faces import Faces
from benchmarks.serving import BUNDLES, Request, Served, ask, serving
from models.bundle import read_bundle
from models.feature_set import FeatureSet, write_npz
from models.npy import write_npy
from service.access.keys import Scope, make_key

ROUNDS, SECONDS = 15, 2.0
CLIENTS = 8
TEMPLATES = 20_000
ROWS = 256
SCRAPE_SECONDS = 5.0
NAME = "people"
BARE = "benchmarks.bare_service"
QUIET = ("--log-level", "warning")
BASE = "none"
_LIMITED = ("--requests-per-second", "100000", "--probes-per-day", "1000000000")
VARIANTS: Mapping[str, tuple[str, tuple[str, ...], bool]] = {
    BASE: (BARE, QUIET, False),
    "metrics": ("service", QUIET, False),
    "metrics, keys, limits, audit log": ("service", (*QUIET, *_LIMITED), True),
    "the same, and a line of the log for each": ("service", _LIMITED, True),
}


def measure(_: Faces) -> str:
    """Ratios to the service without any of it."""
    requests = _requests()
    rates: dict[str, list[list[float]]] = {name: [[] for _ in requests] for name in VARIANTS}
    cpu: dict[str, list[list[float]]] = {name: [[] for _ in requests] for name in VARIANTS}
    with ExitStack() as opened, multiprocessing.get_context("spawn").Pool(1) as clients:
        services = {name: opened.enter_context(_running(*variant)) for name, variant in VARIANTS.items()}
        order = list(services)
        # The first is to warm up, and nobody is always first.
        for turn in range(ROUNDS + 1):
            order = order[1:] + order[:1]
            for place, request in enumerate(requests):
                for name in order:
                    served, headers = services[name]
                    before = served.cpu_seconds
                    *answers, seconds = clients.apply(
                        ask, (served.port, replace(request, headers=headers, seconds=SECONDS))
                    )
                    if turn:
                        rates[name][place].append(len(answers) / seconds)
                        cpu[name][place].append((served.cpu_seconds - before) / len(answers))
    rows = []
    for place, request in enumerate(requests):
        for name in VARIANTS:
            rate, took = rates[name][place], cpu[name][place]
            of_rate = median(one / other for one, other in zip(rate, rates[BASE][place], strict=True))
            of_cpu = median(one / other for one, other in zip(took, cpu[BASE][place], strict=True))
            ratios = ["", ""] if name == BASE else [f"**{of_rate:.2f}**", f"{of_cpu:.2f}"]
            rows.append([request.what, name, f"{median(rate):,.0f}", f"{1e6 * median(took):,.0f}", *ratios])
    head = (
        f"{CLIENTS} clients in a process of their own on the cores of the service, that wait for each answer; a gallery of "
        f"{TEMPLATES:,} templates; `/metrics` asked every {SCRAPE_SECONDS:.0f} s of all but the first. Medians of {ROUNDS} "
        f"rounds of {SECONDS:.0f} s, all by turns, and of what each is of `none` in the same round. What routes and batches "
        "count is counted in all of them. Asked for: at least 0.95."
    )
    columns = ["request", "around it", "answers a second", "CPU, µs", "of the answers without", "of the CPU without"]
    return f"{head}\n\n{table(columns, rows)}"


@contextmanager
def _running(module: str, flags: tuple[str, ...], has_keys: bool) -> Iterator[tuple[Served, Mapping[str, str]]]:
    """A service with a gallery, and the headers that its requests have."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        scopes: list[Scope] = ["translate", "search", "enrol", "gallery-admin", "metrics"]
        headers = {"x-api-key": make_key(Path(folder) / "keys.json", "clients", scopes).text} if has_keys else {}
        with serving(Path(folder), *flags, module=module) as served:
            _enrol(served, headers)
            is_over = threading.Event()
            scraper = threading.Thread(target=_scrape, args=(served, headers, is_over))
            if module != BARE:
                scraper.start()
            try:
                yield served, headers
            finally:
                is_over.set()
                if module != BARE:
                    scraper.join()


def _scrape(served: Served, headers: Mapping[str, str], is_over: threading.Event) -> None:
    asked = urllib.request.Request(f"http://127.0.0.1:{served.port}/metrics", headers=dict(headers))
    while not is_over.wait(SCRAPE_SECONDS):
        with urllib.request.urlopen(asked, timeout=60) as answer:
            answer.read()


def _enrol(served: Served, headers: Mapping[str, str]) -> None:
    space = read_bundle(BUNDLES / "cloud").manifest.target
    rows = np.random.default_rng(0).standard_normal((TEMPLATES, space.dimension)).astype(np.float32)
    names = np.array([f"person-{number}" for number in range(TEMPLATES)])
    people = write_npz(FeatureSet.build(space, {"feature": rows, "image": names, "subject": names}))
    body = json.dumps({"name": NAME, "space": space.name}).encode()
    once = Request("", "POST", "/galleries", (body,), clients=1, is_once=True, headers=headers)
    ask(served.port, once)
    ask(
        served.port,
        replace(once, path=f"/galleries/{NAME}/templates", bodies=(people,), media_type="application/x-npz"),
    )


def _requests() -> list[Request]:
    space, small = (read_bundle(BUNDLES / name).manifest.target for name in ("cloud", "edge"))
    rng = np.random.default_rng(1)

    def coded(dimension: int) -> list[str]:
        return [
            base64.b64encode(row.tobytes()).decode() for row in rng.standard_normal((64, dimension)).astype(np.float32)
        ]

    probes = [
        json.dumps({"gallery": NAME, "probe": {"space": space.name, "feature": one}, "top_k": 5}).encode()
        for one in coded(space.dimension)
    ]
    features = [
        json.dumps({"source": small.name, "target": space.name, "features": one}).encode()
        for one in coded(small.dimension)
    ]
    rows = write_npy(rng.standard_normal((ROWS, small.dimension)).astype(np.float32))
    query = f"/translate?source={small.name}&target={space.name}"
    return [
        Request("`/identify`, one probe", "POST", "/identify", probes, clients=CLIENTS),
        Request("`/translate`, one feature", "POST", "/translate", features, clients=CLIENTS),
        Request(
            f"`/translate`, {ROWS} features", "POST", query, (rows,), media_type="application/x-npy", clients=CLIENTS
        ),
    ]
