"""`make demo` as a stranger would run it: on this machine, with no faces and no network."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from models.bundle import read_bundle
from models.graph import check_graph

ROOT = Path(__file__).parents[2]
BUNDLES = ROOT / "deploy" / "demo" / "bundles"


def demo(folder: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "deploy.demo", "--folder", str(folder), *(str(word) for word in words)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FACEBRIDGE_")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Shown:
    folder: Path
    port: int
    text: str
    seconds: float

    def rank1(self, what: str) -> float:
        found = re.search(rf"{re.escape(what)}\s*│ rank-1 (\d\.\d+)", self.text)
        assert found, self.text
        return float(found[1])


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder, port = tmp_path_factory.mktemp("demo") / "run", free_port()
    started = time.monotonic()
    ran = demo(folder, "--port", port)
    seconds = time.monotonic() - started
    try:
        assert ran.returncode == 0, ran.stdout + ran.stderr
        yield Shown(folder, port, ran.stdout, seconds)
    finally:
        demo(folder, "--stop")


def test_the_demo_takes_less_than_two_minutes(shown: Shown) -> None:
    assert shown.seconds < 120


def test_the_cloud_encoder_identifies_nine_of_ten_people_it_has_never_seen(shown: Shown) -> None:
    assert shown.rank1("another photo, seen by the cloud encoder") >= 0.90


def test_so_does_the_edge_encoder(shown: Shown) -> None:
    assert shown.rank1("a gallery of the edge encoder, asked by the edge encoder") >= 0.90


def test_without_translation_hardly_anybody_is_identified_across_spaces(shown: Shown) -> None:
    assert shown.rank1("seen by the edge encoder, compared as it is") <= 0.02


def test_translated_probes_and_galleries_come_within_three_points_of_native(shown: Shown) -> None:
    edge = shown.rank1("a gallery of the edge encoder, asked by the edge encoder")
    cloud = shown.rank1("another photo, seen by the cloud encoder")
    assert shown.rank1("seen by the edge encoder, translated on the way") >= min(edge, cloud) - 0.03
    assert shown.rank1("its templates translated, asked by the cloud encoder") >= min(edge, cloud) - 0.03


def test_drawings_find_far_more_people_than_chance(shown: Shown) -> None:
    assert shown.rank1("a caricature, seen by the cloud encoder") > 0.1
    assert shown.rank1("a sketch, seen by the cloud encoder") > 0.02


def test_one_person_mostly_matches_and_two_hardly_ever_do(shown: Shown) -> None:
    """At a false-match rate of 0.001 a thousand pairs have one false match; more than seven in one of 100,000 runs."""
    counts = [int(count) for count in re.findall(r"(\d+) of 1000 match", shown.text)]
    assert len(counts) == 2
    assert counts[0] > 500
    assert counts[1] <= 7


def test_the_service_goes_on_with_its_galleries(shown: Shown) -> None:
    answer = httpx.get(f"http://127.0.0.1:{shown.port}/galleries").json()
    assert {gallery["name"]: gallery["num_subjects"] for gallery in answer["galleries"]} == dict.fromkeys(
        ("migrated", "old", "people"), 1000
    )


def test_the_pictures_to_look_at_are_there(shown: Shown) -> None:
    for name in ("people.contact-sheet.png", "answers.png"):
        with Image.open(shown.folder / name) as picture:
            assert min(picture.size) > 300


def test_the_account_says_where_to_look_and_how_to_stop(shown: Shown) -> None:
    assert f"http://127.0.0.1:{shown.port}" in shown.text
    assert "make demo-stop" in shown.text


def test_a_port_in_use_is_one_line_and_leaves_nothing_running(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = demo(tmp_path / "run", "--port", taken.getsockname()[1], "--subjects", 4)
    assert ran.returncode == 1
    assert ran.stderr.strip().count("\n") == 0
    assert "cannot listen" in ran.stderr
    assert demo(tmp_path / "run", "--stop").stdout == "no demo service was running\n"


@pytest.mark.parametrize("name", ["cloud", "edge", "edge-to-cloud", "cloud-to-edge"])
def test_the_demos_bundles_are_sound_and_say_how_they_were_made(name: str) -> None:
    bundle = read_bundle(BUNDLES / name)
    check_graph(bundle.model)
    assert bundle.manifest.licence == "Apache-2.0"
    assert bundle.manifest.provenance.data_digests
    assert bundle.manifest.provenance.split is not None
    assert bundle.calibration.points
