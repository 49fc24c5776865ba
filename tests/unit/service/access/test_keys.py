"""Keys in their file, and what opens something."""

import hmac
import json
import stat
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.access.keys import (
    LIVE_SECRETS,
    MAX_KEYS,
    REMEMBERED_DAYS,
    SCOPES,
    ApiKey,
    find_by_id,
    find_key,
    make_key,
    read_keys,
    revoke_key,
    rotate_key,
)
from service.access.ring import KeyRing
from service.errors import InvalidInputError, NotFoundError, StartupError

NOW = datetime.now(UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "keys.json"


def found(path: Path, text: str, after_seconds: float = 0.0) -> ApiKey | None:
    keys = {key.key_id: key for key in read_keys(path)}
    return find_key(keys, text, datetime.now(UTC) + timedelta(seconds=after_seconds))


def test_a_key_opens_and_its_secret_is_kept_nowhere(path: Path) -> None:
    made = make_key(path, "gate", ["search", "translate"], tenant="acme", probes_per_day=5)
    secret = made.text.split("_", 2)[2]
    assert len(secret) == 43
    assert found(path, made.text) == made.key
    assert (made.key.tenant, made.key.scopes, made.key.probes_per_day) == ("acme", ("translate", "search"), 5)
    for file in path.parent.rglob("*"):
        assert secret not in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: text + "A",
        lambda text: text[:-1],
        lambda text: text.upper(),
        lambda text: "fb_" + "0" * 12 + text[15:],
        lambda text: text.replace("fb_", "", 1),
        lambda text: " " + text,
        lambda text: "",
        lambda text: "fb__",
        lambda text: text.replace("_", "\x00", 1),
    ],
)
def test_nothing_else_opens(path: Path, change: object) -> None:
    made = make_key(path, "gate")
    assert found(path, change(made.text)) is None  # type: ignore[operator]


def test_the_secret_of_one_key_does_not_open_another(path: Path) -> None:
    one, other = make_key(path, "one"), make_key(path, "other")
    mixed = f"fb_{one.key.key_id}_{other.text.split('_', 2)[2]}"
    assert found(path, mixed) is None


def test_whatever_is_asked_it_is_compared_as_often_and_in_constant_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make_key(path, "one"), make_key(path, "other")
    rotated = rotate_key(path, other.key.key_id, keep_seconds=60)
    revoked = make_key(path, "revoked")
    revoke_key(path, revoked.key.key_id)
    secret = one.text.split("_", 2)[2]
    asked = {
        one.text: True,
        other.text: True,
        rotated.text: True,
        revoked.text: False,
        f"fb_{'0' * 12}_{secret}": False,
        f"fb_{other.key.key_id}_{secret}": False,
        f"fb_{revoked.key.key_id}_{secret}": False,
    }
    compared: list[str] = []

    def compare(a: str, b: str, compare_digest: Callable[[str, str], bool] = hmac.compare_digest) -> bool:
        compared.append(a)
        return compare_digest(a, b)

    monkeypatch.setattr("service.access.keys.hmac.compare_digest", compare)
    for text, is_one in asked.items():
        compared.clear()
        assert (found(path, text) is not None) == is_one
        assert len(compared) == LIVE_SECRETS


def test_a_key_ends_when_it_was_told_to(path: Path) -> None:
    made = make_key(path, "visitor", days=0.5)
    assert found(path, made.text) is not None
    assert found(path, made.text, after_seconds=0.6 * 24 * 3600) is None


def test_a_revoked_key_opens_nothing_and_is_remembered(path: Path) -> None:
    made = make_key(path, "gate")
    revoked = revoke_key(path, made.key.key_id)
    assert found(path, made.text) is None
    (kept,) = read_keys(path)
    assert (kept, kept.name, kept.secrets) == (revoked, "gate", ())
    assert kept.revoked_at is not None
    # Once more changes nothing; its name is free again.
    assert revoke_key(path, made.key.key_id) == revoked
    assert found(path, make_key(path, "gate").text) is not None
    with pytest.raises(InvalidInputError, match="revoked"):
        rotate_key(path, made.key.key_id, keep_seconds=1)


def test_while_a_key_is_rotated_both_secrets_open(path: Path) -> None:
    made = make_key(path, "gate")
    rotated = rotate_key(path, made.key.key_id, keep_seconds=60)
    assert [found(path, text) is not None for text in (made.text, rotated.text)] == [True, True]
    assert [found(path, text, 61) is not None for text in (made.text, rotated.text)] == [False, True]
    with pytest.raises(InvalidInputError, match="2 secrets of this key are live"):
        rotate_key(path, made.key.key_id, keep_seconds=60)
    last = rotate_key(path, made.key.key_id, keep_seconds=0)
    assert [found(path, text) is not None for text in (made.text, rotated.text, last.text)] == [False, False, True]


def test_a_key_of_another_tenant_is_none(path: Path) -> None:
    made = make_key(path, "gate", tenant="acme")
    for change in (
        lambda: revoke_key(path, made.key.key_id, tenant="other"),
        lambda: rotate_key(path, made.key.key_id, keep_seconds=1, tenant="other"),
        lambda: find_by_id(path, made.key.key_id, "other"),
        lambda: revoke_key(path, "0" * 12),
    ):
        with pytest.raises(NotFoundError, match="there is no such key"):
            change()
    assert found(path, made.text) is not None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"tenant": "../other"}, "tenant"),
        ({"tenant": "Acme"}, "tenant"),
        ({"scopes": []}, "a key needs scopes"),
        ({"requests_per_second": 0.0}, "requests_per_second"),
        ({"requests_per_second": float("nan")}, "requests_per_second"),
        ({"probes_per_day": -1}, "probes_per_day"),
    ],
)
def test_a_key_that_cannot_be_is_not_made(path: Path, changes: dict[str, object], says: str) -> None:
    given: dict[str, object] = {"name": "gate", "scopes": list(SCOPES)} | changes
    with pytest.raises(InvalidInputError, match=says):
        make_key(path, given.pop("name"), given.pop("scopes"), **given)  # type: ignore[arg-type]
    assert not path.exists()


def test_two_keys_of_a_tenant_have_two_names(path: Path) -> None:
    make_key(path, "gate")
    with pytest.raises(InvalidInputError, match="has a key of this name"):
        make_key(path, "gate")
    make_key(path, "gate", tenant="acme")


def test_keys_that_are_made_at_once_are_all_there(path: Path) -> None:
    threads = [threading.Thread(target=make_key, args=(path, f"gate-{number}")) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in read_keys(path)} == {f"gate-{number}" for number in range(20)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"version": 2, "keys": []}',
        '{"version": 1, "keys": [{"key_id": "x"}]}',
        '{"version": 1, "keys": [], "more": 1}',
        "[" * 100_000,
    ],
)
def test_a_file_that_holds_no_keys_is_refused_in_one_line(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(StartupError) as refused:
        read_keys(path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    with pytest.raises(StartupError):
        KeyRing(path)


def test_one_id_twice_is_refused(path: Path) -> None:
    make_key(path, "gate")
    document = json.loads(path.read_text())
    document["keys"] *= 2
    path.write_text(json.dumps(document))
    with pytest.raises(StartupError, match="two keys have one id"):
        read_keys(path)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opens(ring: KeyRing, clock: Clock, text: str) -> bool:
    """A second later."""
    clock.now += 1.0
    return ring.caller(text) is not None


def test_what_changes_in_the_file_holds_within_a_second(path: Path) -> None:
    clock = Clock()
    ring = KeyRing(path, clock)
    was_needed = ring.is_needed
    made = make_key(path, "gate")
    assert opens(ring, clock, made.text)
    assert (was_needed, ring.is_needed) == (False, True)
    other = make_key(path, "other")
    assert opens(ring, clock, other.text)
    revoke_key(path, made.key.key_id)
    assert not opens(ring, clock, made.text)


def test_keys_that_were_read_hold_while_the_file_cannot_be(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = make_key(path, "gate")
    clock = Clock()
    ring, whole = KeyRing(path, clock), path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert opens(ring, clock, made.text)
    assert "the keys are those that were read last" in caplog.text
    path.unlink()
    # Nobody is let in without a key because a file is gone.
    assert opens(ring, clock, made.text)
    assert ring.is_needed
    path.write_bytes(whole)
    revoke_key(path, made.key.key_id)
    assert not opens(ring, clock, made.text)
    assert ring.is_needed


def test_a_file_keeps_its_owner_its_mode_and_its_place(path: Path, tmp_path: Path) -> None:
    make_key(path, "gate")
    path.chmod(0o640)
    linked = tmp_path / "linked.json"
    linked.symlink_to(path)
    make_key(linked, "other")
    assert linked.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert len(read_keys(path)) == 2


def test_a_missing_file_is_made_by_nobody_who_thinks_that_it_is_there(path: Path) -> None:
    maker = make_key(path.with_name("elsewhere.json"), "maker").key
    with pytest.raises(FileNotFoundError):
        make_key(path, "gate", maker=maker)
    with pytest.raises(FileNotFoundError):
        revoke_key(path, "0" * 12)
    assert not path.exists()


def test_keys_that_ended_long_ago_are_forgotten_and_of_a_tenant_there_are_so_many(path: Path) -> None:
    made = make_key(path, "gate")
    document = json.loads(path.read_text())
    (one,) = document["keys"]
    old = (NOW - timedelta(days=REMEMBERED_DAYS + 1)).isoformat()
    ended = [one | {"key_id": f"{number:012x}", "revoked_at": old, "secrets": []} for number in range(5)]
    many = [one | {"key_id": f"f{number:011x}", "name": f"n{number}"} for number in range(MAX_KEYS - 1)]
    path.write_text(json.dumps(document | {"keys": [one, *ended, *many]}))
    with pytest.raises(InvalidInputError, match=f"at most {MAX_KEYS} keys"):
        make_key(path, "one more")
    make_key(path, "elsewhere", tenant="acme")
    revoke_key(path, made.key.key_id)
    assert len(read_keys(path)) == MAX_KEYS + 1


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e300])
def test_a_secret_is_not_kept_for_ever(path: Path, seconds: float) -> None:
    made = make_key(path, "gate")
    with pytest.raises(InvalidInputError, match="may be kept for 0 to 720 hours"):
        rotate_key(path, made.key.key_id, keep_seconds=seconds)


def test_limits_of_who_is_forgotten_hold_for_whom_they_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_key(path, "root", ["search", "keys-admin"], probes_per_day=7).key
    kid = make_key(path, "kid", probes_per_day=10**9, maker=root)
    grandchild = make_key(path, "grandchild", maker=kid.key)
    assert (kid.key.shares, grandchild.key.shares) == ((root.key_id,), (kid.key.key_id, root.key_id))
    revoke_key(path, root.key_id)
    monkeypatch.setattr("service.access.keys.REMEMBERED_DAYS", -1)
    make_key(path, "another")
    caller = KeyRing(path).caller(grandchild.text)
    assert caller is not None
    assert [(one.key_id, one.probes_per_day) for one in caller.budgets] == [
        (grandchild.key.key_id, None),
        (kid.key.key_id, 10**9),
        (root.key_id, 7),
    ]
    for one in (kid.key, grandchild.key):
        revoke_key(path, one.key_id)
    make_key(path, "yet another")
    assert {key.name for key in read_keys(path)} == {"another", "yet another"}


def test_a_maker_that_was_ended_makes_none(path: Path) -> None:
    maker = make_key(path, "maker").key
    revoke_key(path, maker.key_id)
    with pytest.raises(InvalidInputError, match="revoked"):
        make_key(path, "kid", maker=maker)


def test_keys_without_a_maker_are_written_as_before(path: Path) -> None:
    maker = make_key(path, "maker").key
    assert "shares" not in path.read_text()
    make_key(path, "kid", maker=maker)
    assert path.read_text().count('"shares"') == 1


@pytest.mark.parametrize("whose", ["nobody's", "its own", "another tenant's"])
def test_limits_are_shared_with_makers_alone(path: Path, whose: str) -> None:
    maker, other = make_key(path, "maker").key, make_key(path, "other", tenant="acme").key
    kid = make_key(path, "kid", maker=maker).key
    shared = {"nobody's": "0" * 12, "its own": kid.key_id, "another tenant's": other.key_id}[whose]
    document = json.loads(path.read_bytes())
    document["keys"][-1]["shares"] = [shared]
    path.write_text(json.dumps(document))
    with pytest.raises(StartupError, match=f"the key {kid.key_id} shares limits") as refused:
        read_keys(path)
    assert "\n" not in str(refused.value)


def test_changes_are_told_of_each_tenant_once(path: Path) -> None:
    clock, told = Clock(), list[tuple[str, int, int, int]]()
    acme = make_key(path, "gate", tenant="acme").key
    staying, over = make_key(path, "gate").key, make_key(path, "short", days=1e-7).key
    time.sleep(0.05)
    ring = KeyRing(path, clock)
    ring.on_change = lambda change: told.append(
        (change.tenant, len(change.made), len(change.changed), len(change.ended))
    )
    make_key(path, "more")
    rotate_key(path, staying.key_id, keep_seconds=5)
    revoke_key(path, acme.key_id)
    opens(ring, clock, "nothing")
    assert told == [("acme", 0, 0, 1), ("default", 1, 1, 0)]
    # Who takes keys out of the file ends them; those that were over, or revoked, are not ended again.
    document = json.loads(path.read_bytes())
    document["keys"] = [
        key for key in document["keys"] if key["key_id"] not in (over.key_id, acme.key_id, staying.key_id)
    ]
    path.write_text(json.dumps(document))
    opens(ring, clock, "nothing")
    opens(ring, clock, "nothing")
    assert told[2:] == [("default", 0, 0, 1)]
