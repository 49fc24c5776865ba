import re
import subprocess
from pathlib import Path

import pytest

from deploy.demo import build
from deploy.demo.build import commands
from deploy.demo.people import NAMES, SEED
from training.cli import build_parser

ROOT = Path(__file__).parents[3]


def words(name: str) -> list[str]:
    return next(line for out, line in commands(Path("work"), Path("bundles")) if out.name == name)


def test_every_command_is_one_that_the_training_command_takes() -> None:
    for _, line in commands(Path("work"), Path("bundles")):
        build_parser().parse_args(line[1:])


def test_what_a_command_reads_was_written_by_one_before_it() -> None:
    written: set[str] = set()
    for out, line in commands(Path("work"), Path("bundles")):
        read = {word for word in line[:-1] if re.match(r"(work|bundles)/", word)}
        assert read <= written
        written.add(str(out))


def test_no_two_worlds_share_people_and_none_has_the_demos() -> None:
    seeds = [line[line.index("--seed") + 1] for _, line in commands(Path("w"), Path("b")) if line[1] == "synth"]
    assert len({*seeds, str(SEED)}) == len(seeds) + 1


def test_the_two_encoders_differ_in_architecture_seed_and_people() -> None:
    cloud, edge = words("cloud"), words("edge")
    for option in ("--backbone", "--seed", "--images"):
        assert cloud[cloud.index(option) + 1] != edge[edge.index(option) + 1]


def test_the_demos_readme_shows_the_commands_as_they_are() -> None:
    text = (ROOT / "deploy" / "demo" / "README.md").read_text(encoding="utf-8")
    for _, line in commands(build.WORK, build.WORK / "bundles"):
        assert " ".join(line) in text


class Shell:
    """Runs nothing: makes what each command would write, until it is told to stop."""

    def __init__(self, stop_at: int | None = None, code: int = 0) -> None:
        self.made: list[str] = []
        self._stop_at, self._code = stop_at, code

    def run(self, words: list[str], *, check: bool) -> "subprocess.CompletedProcess[str]":
        assert not check
        if len(self.made) == self._stop_at:
            if self._code:
                return subprocess.CompletedProcess(words, self._code)
            raise KeyboardInterrupt
        out = Path(words[-1])
        self.made.append(out.name)
        if out.suffix:
            out.write_text("made")
        else:
            out.mkdir()
            (out / "bundle.json").write_text("made")
        return subprocess.CompletedProcess(words, 0)


ALL = ["cloud.zip", "edge.zip", "both.zip", "cloud", "edge", "edge.npz", "cloud.npz", "edge-to-cloud", "cloud-to-edge"]


def built(monkeypatch: pytest.MonkeyPatch, folder: Path, shell: Shell) -> None:
    monkeypatch.setattr(subprocess, "run", shell.run)
    monkeypatch.setattr("sys.argv", ["build", "--work", str(folder / "work"), "--bundles", str(folder / "bundles")])
    build.main()


def old_bundles(folder: Path) -> Path:
    old = folder / "bundles" / "cloud"
    old.mkdir(parents=True)
    (old / "bundle.json").write_text("old")
    return old / "bundle.json"


def test_the_new_bundles_replace_the_old_ones_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = old_bundles(tmp_path)
    shell = Shell()
    built(monkeypatch, tmp_path, shell)
    assert sorted(shell.made) == sorted(ALL)
    assert old.read_text() == "made"
    assert sorted(path.name for path in (tmp_path / "bundles").iterdir()) == sorted(NAMES)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("stop_at", [0, 4, 8])
def test_an_interrupted_build_keeps_the_old_bundles_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int, code: int
) -> None:
    old = old_bundles(tmp_path)
    first, second = Shell(stop_at, code), Shell()
    with pytest.raises(SystemExit) as left:
        built(monkeypatch, tmp_path, first)
    assert left.value.code == code if code else "goes on where it was" in str(left.value)
    assert old.read_text() == "old"
    built(monkeypatch, tmp_path, second)
    assert sorted(first.made + second.made) == sorted(ALL)
    assert old.read_text() == "made"
