"""`make demo` as a stranger would run it: on this machine, with no faces and no network."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from deploy.demo import running
from models.bundle import read_bundle
from models.graph import check_graph

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
BUNDLES = ROOT / "deploy" / "demo" / "bundles"
# Where tests run in the background, interrupts are ignored, and children inherit that.
_HEEDS_INTERRUPTS = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("deploy.demo", run_name="__main__")
"""
_DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


def demo(folder: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "deploy.demo", "--folder", str(folder), *(str(word) for word in words)]
    # Somebody has a proxy, and settings for a service of their own; neither is the demo's.
    environment = os.environ | {"HTTP_PROXY": "http://127.0.0.1:9", "FACEBRIDGE_DEVICE": "cuda"}
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
        stopped = demo(folder, "--stop")
    if ran.returncode == 0:
        assert (stopped.returncode, stopped.stdout) == (0, "stopped\n"), stopped.stderr
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/healthz/live", trust_env=False)


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
    assert shown.rank1("the same gallery, asked by the cloud encoder") >= min(edge, cloud) - 0.03


def test_the_gallery_of_the_edge_encoder_is_migrated_by_a_job_that_passed_its_gates(shown: Shown) -> None:
    assert re.search(r"migrated and judged: (\d) of \1 gates passed +│ cut-over in", shown.text)
    url = f"http://127.0.0.1:{shown.port}"
    gallery = httpx.get(f"{url}/galleries/old", trust_env=False).json()
    assert (gallery["generation"], gallery["space"]["name"], gallery["num_templates"]) == (2, "cloud", 1000)
    (job,) = httpx.get(f"{url}/jobs", trust_env=False).json()["jobs"]
    assert (job["state"], job["is_passed"], job["progress"]["done"]) == ("cut-over", True, 1000)


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
    answer = httpx.get(f"http://127.0.0.1:{shown.port}/galleries", trust_env=False).json()
    assert {gallery["name"]: gallery["num_subjects"] for gallery in answer["galleries"]} == dict.fromkeys(
        ("old", "people"), 1000
    )


def test_the_pictures_to_look_at_are_there(shown: Shown) -> None:
    for name in ("people.contact-sheet.png", "answers.png"):
        with Image.open(shown.folder / name) as picture:
            assert min(picture.size) > 300


def test_the_account_says_where_to_look_and_how_to_stop(shown: Shown) -> None:
    assert f"http://127.0.0.1:{shown.port}" in shown.text
    assert "make demo-stop" in shown.text


def refused(ran: "subprocess.CompletedProcess[str]", words: str) -> None:
    """One line, and nothing was begun."""
    assert ran.returncode in (1, 2)
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "$" not in ran.stdout


def test_a_port_in_use_is_one_line_before_any_work(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = demo(tmp_path / "run", "--port", taken.getsockname()[1], "--subjects", 4)
    refused(ran, "make demo: cannot listen on 127.0.0.1:")
    assert ran.stderr.strip().count("\n") == 0
    assert not (tmp_path / "run").exists()
    assert demo(tmp_path / "run", "--stop").stdout == "no demo service was running\n"


def test_another_demos_port_is_refused_and_its_service_left_alone(shown: Shown, tmp_path: Path) -> None:
    refused(demo(tmp_path / "run", "--port", shown.port, "--subjects", 4), "cannot listen")
    answer = httpx.get(f"http://127.0.0.1:{shown.port}/galleries", trust_env=False).json()
    assert len(answer["galleries"]) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--subjects", 1), "--subjects must be from 2 to 10000"),
        (("--subjects", 10_001), "--subjects must be from 2 to 10000"),
        (("--port", 0), "must be a number from 1 to 65535"),
        (("--port", 65_536), "must be a number from 1 to 65535"),
    ],
)
def test_impossible_settings_are_refused_and_an_earlier_demo_goes_on(
    shown: Shown, words: tuple[object, ...], reason: str
) -> None:
    refused(demo(shown.folder, *words), reason)
    assert httpx.get(f"http://127.0.0.1:{shown.port}/healthz/ready", trust_env=False).is_success
    assert (shown.folder / "people.zip").is_file()


def test_a_folder_that_is_no_demos_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    refused(demo(tmp_path, "--subjects", 4), "holds something that is no demo's")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    refused(demo(tmp_path / "thesis.txt", "--subjects", 4), "is no folder")
    (tmp_path / "link").symlink_to(tmp_path)
    refused(demo(tmp_path / "link", "--subjects", 4), "is no folder")


def test_an_interrupted_demo_leaves_nothing_and_says_so_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HEEDS_INTERRUPTS, "--folder", str(tmp_path / "run"), "--port", str(free_port())]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as shown:
        assert shown.stdout is not None
        assert "synth" in shown.stdout.readline()
        os.killpg(shown.pid, signal.SIGINT)
        _, complaint = shown.communicate(timeout=60)
    assert shown.returncode == 1
    assert "make demo: interrupted" in complaint
    assert "Traceback" not in complaint
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["made-by-make-demo"]


def test_a_note_that_is_no_process_is_no_service(tmp_path: Path) -> None:
    for note in ("", "words", "1 2", f"{os.getpid()} 12345", f"{os.getpid()}"):
        (tmp_path / "service.pid").write_text(note)
        assert demo(tmp_path, "--stop").stdout == "no demo service was running\n"


def test_a_service_that_does_not_listen_to_the_signal_is_stopped_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_SECONDS", 1.0)
    with subprocess.Popen([sys.executable, "-c", _DEAF], stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        (tmp_path / "service.pid").write_text(f"{deaf.pid} {running._started(deaf.pid)}")
        reaper = threading.Thread(target=deaf.wait)
        reaper.start()
        assert running.stop_service(tmp_path)
        reaper.join(10)
    assert deaf.returncode == -signal.SIGKILL


@pytest.mark.parametrize("name", ["cloud", "edge", "edge-to-cloud", "cloud-to-edge"])
def test_the_demos_bundles_are_sound_and_say_how_they_were_made(name: str) -> None:
    bundle = read_bundle(BUNDLES / name)
    check_graph(bundle.model)
    assert bundle.manifest.licence == "Apache-2.0"
    assert bundle.manifest.provenance.data_digests
    assert bundle.manifest.provenance.split is not None
    assert bundle.calibration.points
