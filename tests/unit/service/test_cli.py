"""The operator's command: in this process where it refuses to start, as a process of its own where it serves."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.access.keys import SCOPES, make_key
from service.cli import build_parser, run
from service.settings import Settings
from tests.api.refusals import CANARY
from tests.api.world import A_TO_B, by_hand, features, unit, write_world
from tests.serving import WAIT_SECONDS, serving


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the settings of whoever runs the tests, in a folder of the test's own."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FACEBRIDGE_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("bundles"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr with which the command left, with exit code 2."""
    try:
        code: object = run(arguments)
    except SystemExit as left:
        code = left.code
    assert code == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    assert "Traceback" not in captured.err
    assert "serving on" not in captured.out
    return captured.err


class TestRefusals:
    def test_a_missing_folder_of_bundles(self, capsys: pytest.CaptureFixture[str]) -> None:
        line = refused(capsys, "serve", "--bundles", "nowhere", "--port", "0")
        assert line.startswith("facebridge serve: nowhere: the folder of bundles does not exist")

    @pytest.mark.parametrize("port", ["-1", "70000", "web", "8000.5"])
    def test_a_port_that_is_none(self, capsys: pytest.CaptureFixture[str], port: str) -> None:
        assert refused(capsys, "serve", f"--port={port}").startswith("facebridge serve: setting port: ")

    def test_a_port_in_use(self, capsys: pytest.CaptureFixture[str], bundles: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = str(other.getsockname()[1])
            line = refused(capsys, "serve", "--bundles", str(bundles), "--port", port)
        assert line == f"facebridge serve: setting port: cannot listen on 127.0.0.1:{port} (Address already in use)\n"

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
    def test_listening_beyond_this_machine(self, capsys: pytest.CaptureFixture[str], host: str, bundles: Path) -> None:
        line = refused(capsys, "serve", "--bundles", str(bundles), "--host", host)
        assert line.startswith("facebridge serve: setting host: ")
        assert "--insecure-bind" in line

    @pytest.mark.parametrize("host", ["192.0.2.1", "x" * 300, "..", "[::1]"])
    def test_an_address_that_this_machine_has_not(
        self, capsys: pytest.CaptureFixture[str], host: str, bundles: Path
    ) -> None:
        line = refused(capsys, "serve", "--bundles", str(bundles), "--insecure-bind", "--port", "0", "--host", host)
        assert line.startswith("facebridge serve: setting port: cannot listen on ")

    def test_cuda_where_there_is_none(self, capsys: pytest.CaptureFixture[str], bundles: Path) -> None:
        line = refused(capsys, "serve", "--bundles", str(bundles), "--port", "0", "--device", "cuda")
        assert "CUDA was asked for" in line

    def test_a_data_folder_that_is_a_file(self, capsys: pytest.CaptureFixture[str], bundles: Path) -> None:
        Path("data").write_text("not a folder")
        assert "data: " in refused(capsys, "serve", "--bundles", str(bundles), "--port", "0")

    def test_an_unknown_variable(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FACEBRIDGE_PROT", "80")
        assert refused(capsys, "serve").startswith("facebridge serve: FACEBRIDGE_PROT: no such setting")

    @pytest.mark.parametrize(
        "arguments",
        [[], ["serve", "--colour=red"], ["dance"], ["serve", "stray"], ["check-bundle"], ["serve", "--port"]],
    )
    def test_a_command_line_that_is_none(self, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
        line = refused(capsys, *arguments)
        assert "--help" in line

    def test_a_flipped_bundle(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        folder = write_world(tmp_path / "bundles")
        data = bytearray((folder / "a-to-b" / "model.onnx").read_bytes())
        data[100] ^= 1
        (folder / "a-to-b" / "model.onnx").write_bytes(data)
        line = refused(capsys, "check-bundle", str(folder / "a-to-b"))
        assert line.startswith("facebridge check-bundle: a-to-b/model.onnx: its SHA-256 is not the one in bundle.json")

    def test_a_bundle_that_is_not_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert refused(capsys, "check-bundle", "nowhere").startswith("facebridge check-bundle: nowhere/bundle.json: ")


def test_sound_bundles_are_said_to_be_sound(capsys: pytest.CaptureFixture[str], bundles: Path) -> None:
    assert run(["check-bundle", str(bundles / "a-to-b"), str(bundles / "encode-a")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert f"{bundles / 'a-to-b'}: sound; translator procrustes, a to b, " in first
    assert f"{bundles / 'encode-a'}: sound; encoder encoder, a, " in second


def test_every_setting_is_a_flag_with_its_default_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args(["serve", "--help"])
    assert left.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert f"FACEBRIDGE_{name.upper()}" in text
        assert field.description is not None
        assert field.description in text


def test_the_service_starts_answers_and_leaves_with_0_when_it_is_told_to(bundles: Path, tmp_path: Path) -> None:
    with serving(bundles, tmp_path / "data") as served:
        assert "a-to-b" in served.output
        body = {"source": "a", "target": "b", "features": features(2).tolist()}
        response = httpx.post(f"{served.url}/translate", json=body, timeout=WAIT_SECONDS)
        np.testing.assert_allclose(response.json()["features"], by_hand(features(2), A_TO_B), atol=1e-6)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(WAIT_SECONDS) == 0
        assert served.process.stdout is not None
        assert "Traceback" not in served.process.stdout.read()


def test_every_line_of_a_log_of_json_is_json_and_tells_of_nobody(bundles: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path / "data" / "keys.json", "gate", SCOPES).text
    row = features(1)[0]
    template = {"subject": CANARY, "feature": row.tolist()}
    probe = {"space": "a", "feature": row.tolist()}
    subject = f"/galleries/people/subjects/{CANARY}"
    asked: list[tuple[str, str, str, object, int]] = [
        ("POST", "/galleries", "/galleries", {"name": "people", "space": "a"}, 201),
        (
            "POST",
            "/galleries/people/templates",
            "/galleries/{gallery}/templates",
            {"space": "a", "templates": [template]},
            201,
        ),
        ("POST", "/identify", "/identify", {"gallery": "people", "probe": probe}, 200),
        ("POST", "/verify", "/verify", {"a": probe, "b": {"space": CANARY, "feature": row.tolist()}}, 409),
        ("POST", "/verify", "/verify", {"a": row.tolist(), "b": CANARY}, 422),
        ("GET", f"/{CANARY}", "unknown", None, 404),
        ("DELETE", subject, "/galleries/{gallery}/subjects/{subject:path}", None, 200),
    ]
    with (
        serving(bundles, tmp_path / "data", "--log-format", "json") as served,
        httpx.Client(base_url=served.url, timeout=WAIT_SECONDS, headers={"x-api-key": key}) as client,
    ):
        for number, (method, path, _, body, status) in enumerate(asked):
            answer = client.request(method, path, json=body, headers={"x-request-id": f"asked-{number}"})
            assert answer.status_code == status, (path, answer.text)
        # What is no request is told of too.
        with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as stranger:
            stranger.sendall(f"{CANARY} \x00\r\n\r\n".encode())
            assert stranger.recv(100).startswith(b"HTTP/1.1 400")
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(WAIT_SECONDS) == 0
        assert served.process.stdout is not None
        text = served.process.stdout.read()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(line.keys() >= {"at", "level", "logger", "message"} for line in lines)
    told = [(line["request_id"], line["method"], line["route"], line["status"]) for line in lines if "route" in line]
    assert told == [
        (f"asked-{number}", method, route, status) for number, (method, _, route, _, status) in enumerate(asked)
    ]
    assert {line["key_id"] for line in lines if "route" in line} == {key.split("_")[1]}
    everything = served.output + text
    assert CANARY.lower() not in everything.lower()
    assert key.split("_", 2)[2] not in everything
    for number in (*row.tolist(), *unit(row).tolist()):
        assert repr(abs(number))[:8] not in everything


def test_on_a_kept_connection_no_answer_waits_for_an_acknowledgement(bundles: Path, tmp_path: Path) -> None:
    """With Nagle's algorithm at work every answer after the first waits for the client's delayed one: 40 ms."""
    with serving(bundles, tmp_path / "data") as served, httpx.Client(base_url=served.url) as client:
        seconds = [client.get("/healthz/live").elapsed.total_seconds() for _ in range(21)]
    assert statistics.median(seconds[1:]) < 0.02


def test_what_was_acknowledged_survives_a_kill(bundles: Path, tmp_path: Path) -> None:
    row = features(1)[0].tolist()
    with (
        serving(bundles, tmp_path / "data") as served,
        httpx.Client(base_url=served.url, timeout=WAIT_SECONDS) as client,
    ):
        assert client.post("/galleries", json={"name": "people", "space": "b"}).status_code == 201
        body = {"space": "a", "templates": [{"subject": "ann", "feature": row}]}
        enrolled = client.post("/galleries/people/templates", json=body)
        served.process.send_signal(signal.SIGKILL)
        assert served.process.wait(WAIT_SECONDS) == -signal.SIGKILL
    with (
        serving(bundles, tmp_path / "data") as served,
        httpx.Client(base_url=served.url, timeout=WAIT_SECONDS) as client,
    ):
        probe = {"gallery": "people", "probe": {"space": "a", "feature": row}}
        (candidate,) = client.post("/identify", json=probe).json()["candidates"]
        assert [candidate["template_id"]] == enrolled.json()["template_ids"]
        assert candidate["subject"] == "ann"
        assert candidate["score"] == pytest.approx(1.0, abs=1e-6)
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(WAIT_SECONDS) == 0


HEAPS = """
import sys, threading
import numpy as np
from service.server import bound_memory

if sys.argv[1] == "bounded":
    bound_memory()
barrier = threading.Barrier(16)

def work():
    barrier.wait()
    pieces = [np.empty(50_000, dtype=np.uint8) for _ in range(20)]
    barrier.wait()

threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
# A heap of a thread starts at a multiple of 64 MiB, and is of no file.
lines = [line.split() for line in open("/proc/self/maps")]
starts = [int(line[0].split("-")[0], 16) for line in lines if len(line) == 5 and line[1] == "rw-p"]
print(sum(start % (64 << 20) == 0 for start in starts))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(("how", "is_free"), [("free", True), ("bounded", False), ("told otherwise", True)])
def test_threads_have_no_heaps_of_their_own(how: str, is_free: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    if how == "told otherwise":
        environment["MALLOC_TOP_PAD_"] = "0"
    command = [sys.executable, "-c", HEAPS, "free" if how == "free" else "bounded"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert (int(ran.stdout) > 4) == is_free, ran.stdout


def test_a_connection_is_kept_longer_than_clients_keep_one_for_which_they_have_no_use(tmp_path: Path) -> None:
    """Else a request may come when it is closed: httpx keeps one for five seconds, as uvicorn does by itself."""
    with serving(write_world(tmp_path / "bundles"), tmp_path / "data", "--log-level", "error") as served:
        port = int(served.url.rpartition(":")[2])
        with closing(HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)) as connection:
            for seconds in (5.5, 0.0):
                connection.request("GET", "/healthz/live")
                assert connection.getresponse().read()
                assert connection.sock is not None
                time.sleep(seconds)
