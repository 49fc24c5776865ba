import re
from pathlib import Path

from deploy.demo.build import commands
from deploy.demo.people import SEED
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
    for _, line in commands(Path("run/demo-train"), Path("deploy/demo/bundles")):
        assert " ".join(line) in text
