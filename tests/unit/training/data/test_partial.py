"""Nobody else's files are deleted with unfinished work."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from training.data.partial import check_partial, check_room, empty, partial_of, sole_partial
from training.errors import TrainingError

Fails = Callable[..., str]
KNOWN = ("plan.json", "*.npz")


class KilledError(Exception):
    pass


def test_the_folder_may_be_missing_or_as_it_was_left(tmp_path: Path) -> None:
    out = tmp_path / "new" / "set.npz"
    assert check_partial(out, KNOWN) == partial_of(out) == tmp_path / "new" / "set.npz.partial"
    assert not partial_of(out).exists()
    partial_of(out).mkdir(parents=True)
    (partial_of(out) / "plan.json").write_text("{}")
    (partial_of(out) / "0000.npz").write_bytes(b"")
    assert len(list(check_partial(out, KNOWN).iterdir())) == 2


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "set.npz"
    partial_of(out).mkdir()
    (partial_of(out) / "thesis.txt").write_text("years of work")
    with pytest.raises(TrainingError, match=r"holds something else \('thesis.txt'\); move it away"):
        check_partial(out, KNOWN)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "set.npz"
    partial_of(out).write_text("a file")
    with pytest.raises(TrainingError, match="is no folder"):
        check_partial(out, KNOWN)
    partial_of(out).unlink()
    partial_of(out).symlink_to(tmp_path)
    with pytest.raises(TrainingError, match="is no folder"):
        check_partial(out, KNOWN)


@pytest.mark.parametrize("method", ["encoder", "arch3", "extract"])
def test_no_command_deletes_a_strangers_folder(
    fails: Fails, files: dict[str, Path], encoder_file: Path, picture_folder: Path, tmp_path: Path, method: str
) -> None:
    out = tmp_path / ("mine.npz" if method == "extract" else "mine")
    partial_of(out).mkdir()
    (partial_of(out) / "thesis.txt").write_text("years of work")
    words = {
        "encoder": ("fit", "--method", "encoder", "--images", picture_folder, "--validation", 0.4),
        "arch3": ("fit", "--method", "arch3", "--source", files["source"], "--target", files["target"]),
        "extract": ("extract", "--encoder", encoder_file, "--images", picture_folder),
    }[method]
    assert "holds something else ('thesis.txt')" in fails(*words, "--out", out)
    assert (partial_of(out) / "thesis.txt").read_text() == "years of work"


def test_too_little_room_is_said_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: SimpleNamespace(free=5 << 20))
    check_room(tmp_path, 5 << 20)
    with pytest.raises(TrainingError, match="about 6 MB are needed, and 5 MB are free"):
        check_room(tmp_path, 6 << 20)


def test_two_commands_do_not_work_on_the_same_result(tmp_path: Path) -> None:
    out = tmp_path / "set.npz"
    with sole_partial(out, KNOWN) as partial:
        assert partial.is_dir()
        with pytest.raises(TrainingError, match="another command is at work on"), sole_partial(out, KNOWN):
            pass
    assert not partial.exists()


def test_what_was_begun_is_kept_and_may_be_taken_up(tmp_path: Path) -> None:
    out = tmp_path / "set.npz"

    def killed() -> None:
        with sole_partial(out, KNOWN) as partial:
            (partial / "chunk-1.npz").write_bytes(b"half")
            raise KilledError

    with pytest.raises(KilledError):
        killed()
    with sole_partial(out, KNOWN) as again:
        assert [path.name for path in again.iterdir()] == ["chunk-1.npz"]


def test_whoever_is_done_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "set.npz"
    with sole_partial(out, KNOWN) as partial:
        (partial / "chunk-1.npz").write_bytes(b"whole")
    assert not partial.exists()


def test_a_folder_deleted_between_opening_and_locking_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner was done in between: a lock on what is gone keeps nobody out."""
    out = tmp_path / "set.npz"
    flock = fcntl.flock
    deleted: list[Path] = []

    def late(descriptor: int, operation: int) -> None:
        if not deleted:
            deleted.append(partial_of(out))
            partial_of(out).rmdir()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with sole_partial(out, KNOWN) as partial:
        assert partial.is_dir()
        with pytest.raises(TrainingError, match="another command is at work on"), sole_partial(out, KNOWN):
            pass
        assert partial.is_dir()


def test_what_is_emptied_stays_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "chunk.npz").write_bytes(b"")
    (tmp_path / "plan.json").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path)
    before = tmp_path.stat().st_ino
    empty(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_ino == before


def test_a_place_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrainingError, match="cannot be written"), sole_partial(tmp_path / "file" / "set.npz", KNOWN):
        pass
