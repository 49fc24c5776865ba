"""The image, as far as can be told without an engine of containers."""

import http.server
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.image.trim import size_of, trim
from tests.deploy.described import BIN, INSTALL, PINNED, PYTHON, READY, ROOT, STAGES, TARGETS, image, ran

MOST_BYTES = 400_000_000
LISTED = {
    name: float(num)
    for name, num in re.findall(r"^\| `(\w+)` \| ([\d.]+) MB \|", INSTALL.read_text(encoding="utf-8"), re.MULTILINE)
}
"""What the page says of the largest."""
BASE_BYTES = 60_000_000
"""Of the image that ours is built upon, at most."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_dockerfile_is_sound_and_bases_are_named_by_digest() -> None:
    assert ran(str(BIN / "hadolint"), "Dockerfile") == ""
    copied = [rest for stage in STAGES.values() for what, rest in stage.instructions if what == "COPY"]
    taken = {word.removeprefix("--from=") for rest in copied for word in rest.split() if word.startswith("--from=")}
    assert STAGES.keys() >= {*TARGETS}
    for name in (*taken, *(stage.base for stage in STAGES.values())):
        assert name in STAGES or PINNED.fullmatch(name), name


def test_what_is_copied_into_the_image_is_there_and_reaches_the_engine() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [rest.split() for what, rest in STAGES["source"].instructions if what == "COPY"]
    sources = {source for *words, _ in copied for source in words}
    assert sources == let_in
    assert [source for source in sources if not (ROOT / source).exists()] == []


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_has_the_packages_that_its_python_looks_for(target: str) -> None:
    made = image(target)
    (copied,) = [rest.split() for what, rest in made.instructions if what == "COPY" and "--from=packages" in rest]
    assert copied == [f"--from=packages-{target}", made.environment["PYTHONPATH"], made.environment["PYTHONPATH"]]
    installed = " ".join(rest for what, rest in image(f"packages-{target}").instructions if what == "RUN")
    assert f"--target {made.environment['PYTHONPATH']} " in installed
    extras = re.findall(r"'\.\[([\w,]+)\]'", installed)
    assert extras == [f"{target},otel"]
    assert {*extras[0].split(",")} <= PROJECT["optional-dependencies"].keys()
    # There is no shell by which anything could be run.
    assert "RUN" not in {what for stage in ("base", target) for what, _ in STAGES[stage].instructions}


@contextmanager
def _answering(status: int) -> Iterator[int]:
    """The port of something that answers whether it is ready, and 404 to all else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == READY else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_healthy_where_the_service_says_that_it_is_ready(target: str) -> None:
    made = image(target)
    program, flag, code = made.words("HEALTHCHECK")
    assert (program, flag) == (PYTHON, "-c")
    address = f"127.0.0.1:{made.environment['FACEBRIDGE_PORT']}/"
    assert address in code
    for status, is_healthy in ((200, True), (503, False)):
        with _answering(status) as port:
            here = code.replace(address, f"127.0.0.1:{port}/")
            done = subprocess.run([sys.executable, "-I", "-c", here], capture_output=True, check=False)
        assert (done.returncode == 0) is is_healthy, done.stderr


EXTRAS = ("cpu", "otel")


def _needed() -> dict[str, importlib.metadata.Distribution]:
    """What `.[cpu,otel]` brings, by the names of packages."""
    found: dict[str, importlib.metadata.Distribution] = {}
    texts = [*PROJECT["dependencies"], *(text for extra in EXTRAS for text in PROJECT["optional-dependencies"][extra])]
    waiting = [Requirement(text) for text in texts]
    while waiting:
        asked = waiting.pop()
        one = importlib.metadata.distribution(asked.name)
        is_known = one.metadata["Name"] in found and not asked.extras
        found[one.metadata["Name"]] = one
        for text in () if is_known else one.requires or ():
            requirement = Requirement(text)
            extras = [{"extra": extra} for extra in asked.extras] or [{"extra": ""}]
            if requirement.marker is None or any(requirement.marker.evaluate(extra) for extra in extras):
                waiting.append(requirement)
    return found


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the image besides its base."""
    folder = tmp_path_factory.mktemp("image")
    for one in _needed().values():
        for file in one.files or ():
            source, target = Path(str(one.locate_file(file))), folder / file
            if ".." in file.parts or not source.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)
    for room in ("models", "service", "training"):
        shutil.copytree(ROOT / room, folder / room)
    about = folder / "facebridge-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: facebridge\nVersion: 0.1.0\n")
    trim(folder)
    return folder


def test_an_image_holds_neither_torch_nor_a_compiler_and_is_small(packages: Path) -> None:
    names = {path.name for path in packages.iterdir()}
    assert {"models", "service", "onnxruntime", "faiss", "pyarrow", "redis", "opentelemetry"} <= names
    assert not {"torch", "training", "matplotlib", "pytest", "pip", "setuptools", "nvidia"} & names
    assert [path for path in packages.rglob("*") if re.fullmatch(r"(gcc|cc|g\+\+|clang|ld|nvcc|make)", path.name)] == []
    size = size_of(packages)
    sys.stdout.write(f"{size / 1e6:.0f} MB of packages\n")
    assert size + BASE_BYTES < MOST_BYTES
    for name, told in LISTED.items():
        found = sum(
            size_of(path)
            for path in packages.iterdir()
            if path.is_dir() and path.name.split(".")[0] in (name, f"{name}_cpu")
        )
        assert told == pytest.approx(found / 1e6, rel=0.15, abs=1.0), name
    assert sum(LISTED.values()) > 0.9 * size / 1e6


CHECK = """
import sys
from models.feature_set import FeatureSet
from models.parquet import read_parquet, write_parquet
from models.space import Space
import faiss, io, numpy as np, onnxruntime, service.cli
import opentelemetry.exporter.otlp.proto.http.trace_exporter
from PIL import Image
from models.picture import decode_picture
from models.bundle import read_bundle
from pathlib import Path
rows = np.eye(3, dtype=np.float32)
names = np.array(["a", "b", "c"])
made = FeatureSet(Space("x", 3, "external:x"), rows, names, names)
assert read_parquet(write_parquet(made), what="x").feature.tolist() == rows.tolist()
for kind in ("JPEG", "PNG", "WEBP", "BMP"):
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 40, 40)).save(file, kind)
    assert decode_picture(file.getvalue()).size == (64, 48), kind
assert read_bundle(Path(sys.argv[1])).manifest.kind == "encoder"
sys.exit(service.cli.run(["check-bundle", sys.argv[1]]))
"""


def test_what_was_trimmed_is_not_missed(packages: Path) -> None:
    bundle = ROOT / "deploy" / "demo" / "bundles" / "edge"
    environment = {"PYTHONPATH": str(packages), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-S", "-c", CHECK, str(bundle)],
        env=environment,
        cwd=packages,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "sound; encoder" in done.stdout
