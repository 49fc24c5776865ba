"""`facebridge migrate`: on a data folder, on a running service, and on feature sets."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.feature_set import FeatureSet, write_npz
from models.parquet import read_parquet, write_parquet
from models.space import Space
from service.cli import run
from service.entities import NewTemplates
from service.galleries.embedded import EmbeddedGalleryStore
from service.state.embedded import EmbeddedJobStore
from service.usecases.exchanging import Exchanges
from service.usecases.receipts import check_sealed
from tests.api.world import A_TO_B, B_TO_C, A, B, C, D, by_hand, features, unit, write_world
from tests.serving import serving

GATES = json.dumps({"min_overlap": 0, "min_retention": 0, "max_negative_flips": 1, "num_samples": 40})


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A gallery of forty people in the space a, each twice."""
    store = EmbeddedGalleryStore(tmp_path / "data")
    store.create("people", A)
    rows = unit(np.repeat(features(40, 8), 2, axis=0) + 0.1 * features(80, 8, seed=1)).astype(np.float32)
    store.enrol("people", NewTemplates([f"s{row // 2}" for row in range(80)], rows, A, rows, A))
    store.close()
    return tmp_path / "data"


def job_of(text: str) -> str:
    found = re.search(r"job ([0-9a-f]{16})", text)
    assert found is not None
    return found[1]


def feature_set(space: Space, num: int, seed: int = 3) -> FeatureSet:
    rows = unit(features(num, space.dimension, seed=seed)).astype(np.float32)
    images = np.array([f"p{row}.jpg" for row in range(num)])
    return FeatureSet.build(
        space, {"feature": rows, "image": images, "subject": np.array([f"s{row}" for row in range(num)])}
    )


def queued_as(data: Path, job_id: str) -> str:
    """A job that asks for what another one did."""
    store = EmbeddedJobStore(data)
    job = store.create("people", store.get(job_id).asked)
    store.close()
    return job.job_id


class TestOnADataFolder:
    def test_who_wanted_it_cut_over_by_itself_is_told_when_it_is(
        self, data: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """And not that it is ready, and what to order next: that would be refused a moment later."""
        exchange = Exchanges.cut_over

        def slowly(*args: Any, **named: Any) -> Any:
            time.sleep(1.0)
            return exchange(*args, **named)

        monkeypatch.setattr(Exchanges, "cut_over", slowly)
        where = ["--data", str(data), "--bundles", str(bundles), "--device", "cpu"]
        assert run(["migrate", "start", "people", "--target", "b", "--gates", GATES, "--cutover", *where]) == 0
        out = capsys.readouterr().out
        assert "is cut-over" in out
        assert "next:" not in out

    def test_a_gallery_goes_and_comes_back(
        self, data: Path, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        where = ["--data", str(data), "--bundles", str(bundles), "--device", "cpu"]
        assert run(["migrate", "start", "people", "--target", "b", "--gates", GATES, *where]) == 0
        out = capsys.readouterr().out
        job = job_of(out)
        assert "ready: 80 of 80" in out
        assert f"next: facebridge migrate cutover {job} --data {data} --bundles {bundles}" in out
        assert run(["migrate", "verdict", job, "--out", str(tmp_path / "v.json"), *where]) == 0
        assert check_sealed((tmp_path / "v.json").read_bytes(), "verdict")["job"] == job
        capsys.readouterr()
        assert run(["check-receipt", str(tmp_path / "v.json")]) == 0
        sound = capsys.readouterr().out
        assert re.match(rf"sound: verdict at \S+ on job {job}, gallery people from a to b: passed; signed by ", sound)
        key = sound.split()[-1]
        assert run(["check-receipt", str(tmp_path / "v.json"), "--public-key", key]) == 0
        for arguments, words in (
            (["--public-key", "0" * 64], "signed by another key"),
            (["--subject", "ann"], "of nobody"),
        ):
            assert run(["check-receipt", str(tmp_path / "v.json"), *arguments]) == 2
            assert words in capsys.readouterr().err
        changed = json.loads((tmp_path / "v.json").read_text()) | {"is_passed": False}
        (tmp_path / "changed.json").write_text(json.dumps(changed))
        assert run(["check-receipt", str(tmp_path / "changed.json")]) == 2
        assert "not as it was signed" in capsys.readouterr().err
        assert run(["migrate", "verdict", job, "--out", str(tmp_path / "v.HTML"), *where]) == 0
        assert (tmp_path / "v.HTML").read_text().startswith("<!doctype html>")
        for order, state, generation in (("cutover", "cut-over", 2), ("rollback", "rolled-back", 1)):
            assert run(["migrate", order, job, *where]) == 0
            assert f"job {job} is {state}" in capsys.readouterr().out
            store = EmbeddedGalleryStore(data)
            assert store.get("people").generation == generation
            store.close()
        assert run(["migrate", "list", "people", *where]) == 0
        assert "rolled-back" in capsys.readouterr().out

    def test_gates_that_fail_are_told_by_the_exit_code(
        self, data: Path, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        where = ["--data", str(data), "--bundles", str(bundles)]
        gates = tmp_path / "gates.json"
        gates.write_text(json.dumps({"min_overlap": 1.0, "num_samples": 40}))
        assert run(["migrate", "start", "people", "--target", "b", "--gates", str(gates), "--cutover", *where]) == 1
        out = capsys.readouterr().out
        assert "failed" in out
        job = job_of(out)
        assert run(["migrate", "cutover", job, *where]) == 2
        assert "gates-failed" in capsys.readouterr().err
        assert run(["migrate", "cutover", job, "--force", *where]) == 0

    def test_it_cuts_over_by_itself(self, data: Path, bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
        where = ["--data", str(data), "--bundles", str(bundles)]
        assert run(["migrate", "start", "people", "--target", "b", "--gates", GATES, "--cutover", *where]) == 0
        assert "is cut-over" in capsys.readouterr().out

    def test_orders_do_what_they_say_and_no_work(
        self, data: Path, bundles: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        where = ["--data", str(data), "--bundles", str(bundles)]
        assert run(["migrate", "start", "people", "--target", "b", "--gates", GATES, *where]) == 0
        first = job_of(capsys.readouterr().out)
        assert run(["migrate", "cancel", first, *where]) == 0
        job = queued_as(data, first)
        for action, state in (("status", "queued"), ("pause", "paused"), ("cancel", "cancelled")):
            assert run(["migrate", action, job, *where]) == 0
            assert f"is {state}" in capsys.readouterr().out
        job = queued_as(data, first)
        assert run(["migrate", "pause", job, *where]) == 0
        assert run(["migrate", "status", job, *where]) == 1
        assert run(["migrate", "resume", job, *where]) == 0
        assert "is ready" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["start", "people", "--target", "d"], "no-route"),
            (["start", "people", "--target", "a"], "invalid-request"),
            (["start", "nobody", "--target", "b"], "not-found"),
            (["start", "people", "--target", "b", "--route", "b-to-c"], "no-route"),
            (["status", "0123456789abcdef"], "not-found"),
        ],
    )
    def test_what_cannot_be_is_one_line(
        self, data: Path, bundles: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["migrate", *arguments, "--data", str(data), "--bundles", str(bundles)]) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"facebridge migrate: {words}: ")
        assert line.count("\n") == 1


def test_a_running_service_is_told_what_to_do(
    data: Path, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(bundles, data, "--log-level", "warning") as served:
        where = ["--url", served.url]
        assert run(["migrate", "start", "people", "--target", "b", "--gates", GATES, "--no-wait", *where]) == 0
        job = job_of(capsys.readouterr().out)
        assert run(["migrate", "watch", job, *where]) == 0
        assert "ready" in capsys.readouterr().out
        probes = tmp_path / "probes.npz"
        probes.write_bytes(write_npz(feature_set(A, 5)))
        assert run(["migrate", "probes", job, str(probes), *where]) == 0
        assert run(["migrate", "cutover", job, *where]) == 0
        assert run(["migrate", "cancel", job, *where]) == 2
        assert "job-state" in capsys.readouterr().err
    assert run(["migrate", "status", job, "--url", served.url]) == 2
    assert "cannot be reached" in capsys.readouterr().err


class TestFiles:
    def test_feature_sets_are_translated_with_their_confidence_left_unsaid(
        self, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        one, other = feature_set(A, 7), feature_set(B, 5)
        (tmp_path / "one.npz").write_bytes(write_npz(one))
        (tmp_path / "other.parquet").write_bytes(write_parquet(other))
        inputs = [str(tmp_path / "one.npz"), str(tmp_path / "other.parquet")]
        where = ["--bundles", str(bundles), "--out", str(tmp_path / "out")]
        assert run(["migrate", "files", *inputs, "--target", "c", *where]) == 0
        assert "7 features" in capsys.readouterr().out
        first = read_parquet((tmp_path / "out" / "one.c.parquet").read_bytes())
        second = read_parquet((tmp_path / "out" / "other.c.parquet").read_bytes())
        assert (first.space, first.image.tolist(), first.subject.tolist()) == (
            C,
            one.image.tolist(),
            one.subject.tolist(),
        )
        assert first.is_translated
        np.testing.assert_allclose(first.feature, by_hand(one.feature, A_TO_B, B_TO_C), atol=1e-5)
        np.testing.assert_allclose(second.feature, by_hand(other.feature, B_TO_C), atol=1e-5)

    def test_what_is_there_already_or_cannot_go_there_is_refused(
        self, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for space, words in ((C, "is in the space c already"), (D, "no route leads")):
            path = tmp_path / f"{space.name}.npz"
            path.write_bytes(write_npz(feature_set(space, 3)))
            where = ["--target", "c", "--bundles", str(bundles), "--out", str(tmp_path / "out")]
            assert run(["migrate", "files", str(path), *where]) == 2
            assert words in capsys.readouterr().err
        where = ["--bundles", str(bundles), "--out", str(tmp_path / "out")]
        assert run(["migrate", "files", str(path), "--target", "nowhere", *where]) == 2
        (tmp_path / "x.csv").write_text("1,2")
        assert run(["migrate", "files", str(tmp_path / "x.csv"), "--target", "c", *where]) == 2
        assert run(["migrate", "files", str(tmp_path / "none.npz"), "--target", "c", *where]) == 2
        assert f"{tmp_path / 'none.npz'}: No such file" in capsys.readouterr().err

    def test_nothing_is_written_where_one_cannot_be(
        self, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "other").mkdir()
        for path, space in (("one.npz", A), ("other/one.npz", B), ("two.npz", C)):
            (tmp_path / path).write_bytes(write_npz(feature_set(space, 3)))
        where = ["--target", "c", "--bundles", str(bundles), "--out", str(tmp_path / "out")]
        for inputs, words in (
            (["one.npz", "other/one.npz"], "would be written to one file"),
            (["one.npz", "one.npz"], "would be written to one file"),
            (["one.npz", "two.npz"], "two.npz: is in the space c already"),
        ):
            assert run(["migrate", "files", *(str(tmp_path / one) for one in inputs), *where]) == 2
            assert words in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gates", "{"], "--gates: this is no JSON"),
        (["--gates", '{"min_overlap": NaN}'], "--gates: this is no JSON"),
        (["--gates", '{"min_overlap": 1e999}'], "--gates: this is no JSON"),
        (["--gates", "nowhere.json"], "--gates: nowhere.json: No such file"),
        (["--keep-days", "nan"], "--keep-days: 'nan' is no number of days"),
        (["--keep-days", "inf"], "--keep-days: 'inf' is no number of days"),
        (["--keep-days", "1e305"], "--keep-days: '1e305' is no number of days"),
        (["--route", ","], "--route: ',' is no list of bundles"),
        (["--keep-days", "week"], "--keep-days: 'week' is no number of days"),
    ],
)
def test_what_is_no_option_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run(["migrate", "start", "people", "--target", "b", *arguments])
    line = capsys.readouterr().err
    assert (left.value.code, line.count("\n")) == (2, 1)
    assert words in line


def test_gates_of_a_file_are_an_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gates.json").write_text("[]")
    with pytest.raises(SystemExit):
        run(["migrate", "start", "people", "--target", "b", "--gates", str(tmp_path / "gates.json")])
    assert "gates.json: gates are a JSON object" in capsys.readouterr().err


def test_a_data_folder_that_is_not_there_is_not_made(
    bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["migrate", "list", "--data", str(tmp_path / "none"), "--bundles", str(bundles)]) == 2
    assert "there is no such data folder" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


class _Running(BaseHTTPRequestHandler):
    """A service whose job never ends."""

    def do_GET(self) -> None:
        progress = {"done": 1, "total": 2, "failed": 0, "rate": None, "seconds_left": None}
        spaces = {"source": {"name": "a"}, "target": {"name": "b"}}
        job: dict[str, Any] = {
            "job_id": "0123456789abcdef",
            "gallery": "g",
            "state": "running",
            "reason": "",
            "progress": progress,
        }
        job |= {"gates": [], "is_passed": None, "cutover": "manual", "created_at": "", **spaces}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(job).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Other(_Running):
    """Something else than Facebridge."""

    def do_GET(self) -> None:
        self.send_response(302 if self.path.endswith("redirected") else 200)
        self.end_headers()
        self.wfile.write({"list": b"[]", "none": b"<html>"}.get(self.path.rpartition("/")[2], b"{}"))

    do_POST = do_GET


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "x"],
        ["status", "list"],
        ["status", "none"],
        ["status", "redirected"],
        ["status", "a/b?c=d#e"],
        ["watch", "a\nb\x7f"],
        ["status", "\udcff"],
        ["list", "\udcff"],
        ["list"],
        ["cutover", "x"],
        ["start", "people?x", "--target", "b"],
        ["start", "people", "--target", "\udcff"],
    ],
)
def test_what_is_no_answer_of_facebridge_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with answering(_Other) as url:
        assert run(["migrate", *arguments, "--url", url]) == 2
    line = capsys.readouterr().err
    assert line.startswith("facebridge migrate: ")
    assert line.count("\n") == 1


def test_who_stops_watching_is_told_how_to_go_on() -> None:
    with answering(_Running) as url:
        _stop_watching(url)


def _stop_watching(url: str) -> None:
    command = [sys.executable, "-u", "-m", "service", "migrate", "watch", "0123456789abcdef", "--url", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == "running: 1 of 2\n"
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=20)
    assert watching.returncode == 130
    assert out == f"the job goes on; next: facebridge migrate watch 0123456789abcdef --url {url}\n"
    assert err == ""
