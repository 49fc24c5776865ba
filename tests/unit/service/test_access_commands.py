"""`facebridge keys` and `facebridge audit`, beside a service and without one."""

import time
from pathlib import Path

import httpx
import orjson
import pytest

from service.access.keys import SCOPES, read_keys
from service.cli import run
from tests.api.world import write_world
from tests.serving import serving
from tests.unit.service.test_cli import refused

DAYS_SECONDS = 24 * 3600


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command printed."""
    assert run(arguments) == 0
    return capsys.readouterr().out


def test_a_key_is_made_shown_rotated_and_ended(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--data", str(data))
    secret = told(capsys, "keys", "create", "gate", *where, "--scopes", "search", "enrol", "--days", "30")
    # Nothing but the secret, so that it can be put where it is used.
    assert secret.count("\n") == 1
    (key,) = read_keys(data / "keys.json")
    assert secret.startswith(f"fb_{key.key_id}_")
    assert (key.scopes, key.tenant, key.until is None) == (("search", "enrol"), "default", False)
    listed = told(capsys, "keys", "list", *where)
    assert all(word in listed for word in (key.key_id, "gate", "search, enrol", "live"))
    assert secret.strip() not in listed
    rotated = told(capsys, "keys", "rotate", key.key_id, *where, "--keep-hours", "1")
    assert rotated != secret
    assert "2 secrets" in told(capsys, "keys", "list", *where)
    assert key.key_id in told(capsys, "keys", "revoke", key.key_id, *where)
    assert "revoked" in told(capsys, "keys", "list", *where)


def test_keys_may_lie_in_a_file_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.json"
    told(capsys, "keys", "create", "gate", "--keys", str(path), "--tenant", "acme", "--probes-per-day", "9")
    (key,) = read_keys(path)
    assert (key.tenant, key.probes_per_day, key.scopes) == ("acme", 9, ("translate", "search"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["keys", "list"], "there are no keys; make one with facebridge keys create"),
        (["keys", "revoke", "0" * 12], "there are no keys"),
        (["keys", "create", ""], "the key: "),
        (["keys", "create", "gate", "--tenant", "../x"], "tenant"),
        (["keys", "create", "gate", "--scopes", "everything"], "invalid choice"),
        (["keys", "create", "gate", "--days", "-1e9"], "days"),
        (["keys", "create", "gate", "--days", "1e300"], "days"),
        (["keys", "create", "gate", "--requests-per-second", "nan"], "requests_per_second"),
        (["keys"], "--help"),
        (["audit", "verify"], "there is no audit log"),
        (["audit", "verify", "--tenant", "../x"], "tenant"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    where = ["--data", str(data)] if len(arguments) > 1 else []
    assert says in refused(capsys, *arguments, *where)


def test_a_key_that_is_not_there(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "keys", "create", "gate", "--data", str(data))
    for action in ("rotate", "revoke"):
        assert "there is no such key" in refused(capsys, "keys", action, "0" * 12, "--data", str(data))
    (key,) = read_keys(data / "keys.json")
    line = refused(capsys, "keys", "rotate", key.key_id, "--keep-hours", "-1", "--data", str(data))
    assert "may be kept for 0 to 720 hours" in line


def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "keys", "create", "gate", "--data", str(data))
    where = ("--bundles", str(write_world(tmp_path / "bundles")), "--data", str(data))
    line = refused(capsys, "serve", *where, "--insecure-bind")
    assert line.startswith("facebridge serve: setting insecure_bind: ")
    line = refused(capsys, "serve", *where, "--keys", str(tmp_path / "nowhere.json"), "--host", "0.0.0.0")
    assert line.startswith("facebridge serve: setting keys: ")


def test_a_service_with_keys_is_there_for_whoever_has_one(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On every address; and what is revoked beside it opens nothing within five seconds."""
    where = ("--data", str(data))
    secret = told(capsys, "keys", "create", "gate", *where, "--scopes", *SCOPES).strip()
    with serving(write_world(tmp_path / "bundles"), data, "--host", "0.0.0.0") as served:
        url = served.url.replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=url, headers={"x-api-key": secret}) as client:
            assert httpx.get(f"{url}/spaces").status_code == 401
            assert client.post("/galleries", json={"name": "people", "space": "a"}).status_code == 201
            told(capsys, "keys", "revoke", secret.split("_")[1], *where)
            revoked = time.monotonic()
            while client.get("/spaces").status_code == 200:
                assert time.monotonic() - revoked < 5
                time.sleep(0.1)
        assert "fb_" not in served.output
    lines = told(capsys, "audit", "show", *where).splitlines()
    (entry,) = map(orjson.loads, lines)
    assert (entry["route"], entry["status"], entry["key_id"]) == ("/galleries", 201, secret.split("_")[1])
    assert f"sound: 1 entries, 1 to 1; the last has the digest {entry['digest']}" in told(
        capsys, "audit", "verify", *where, "--digest", entry["digest"]
    )
    (path,) = (data / "audit").iterdir()
    path.write_text(path.read_text().replace("201", "409"))
    assert "not as it was written" in refused(capsys, "audit", "verify", *where)
