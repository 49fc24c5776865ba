"""Commands that pages show are ones that there are; those of keys do what they say."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service import cli as service
from tests.serving import serving
from training import cli as training

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
PARSERS = {"facebridge": service.build_parser, "facebridge-train": training.build_parser}
_BLOCK = re.compile(r"^```(?:console|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:\$ )?((?:facebridge|facebridge-train) (?:[^\n]*\\\n)*[^\n]*)$", re.MULTILINE)
KEYS = "### Keys, tenants, and who did what"


def shown(page: Path) -> Iterator[str]:
    """Every command of Facebridge in a block of a page, on one line."""
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        for found in _COMMAND.finditer(block[1]):
            # What is done with its output is the shell's.
            yield re.split(r" [|>&;]", found[1].replace("\\\n", " "))[0]


COMMANDS = sorted({command for page in PAGES for command in shown(page)})


def test_both_programs_are_shown() -> None:
    assert {command.split()[0] for command in COMMANDS} == PARSERS.keys()
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_a_page_shows_can_be_given(command: str) -> None:
    program, *words = shlex.split(command)
    PARSERS[program]().parse_args(words)


def test_the_commands_about_keys_do_what_they_say(tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition(KEYS)[2]
    found = _BLOCK.search(section)
    assert found
    create, told, serve, ask = found[1].splitlines()
    environment = os.environ | {"FACEBRIDGE_DATA": str(tmp_path)}
    made = subprocess.run(
        [sys.executable, "-m", "service", *shlex.split(create)[2:]],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    key = made.stdout.split()[0]
    assert re.fullmatch(re.escape(told.partition("_")[0]) + r"_[0-9a-f]{12}_[\w-]{43}", key)
    flags = shlex.split(serve)[3:]
    with serving(ROOT / "deploy" / "demo" / "bundles", tmp_path, *flags) as served:
        header, url = shlex.split(ask)[3:5]
        name, _, value = header.partition(": ")
        port = served.url.rpartition(":")[2]
        url = url.replace("localhost:8000", f"http://127.0.0.1:{port}")
        assert httpx.get(url, headers={name: value.replace("$KEY", key)}).status_code == 200
        assert httpx.get(url).status_code == 401
