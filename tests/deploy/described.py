"""What Dockerfile, composition and chart say of the containers that run Facebridge, in one form whichever of them says it."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CHART = ROOT / "deploy" / "helm" / "facebridge"
INSTALL, CHART_PAGE = ROOT / "docs" / "operators" / "install.md", CHART / "README.md"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PINNED = re.compile(r"\S+@sha256:[0-9a-f]{64}")
VARIABLES = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
PYTHON = "/usr/bin/python3"
"""The one program that the image's base has."""
LIVE, READY = "/healthz/live", "/healthz/ready"
COMPONENT = "app.kubernetes.io/component"
EVERYTHING = (
    "--set=redis.url=redis://redis:6379/0",
    "--set=serviceMonitor.enabled=true",
    "--set=rules.enabled=true",
    "--set=settings.FACEBRIDGE_ENROL_DUPLICATES=flag",
    '--set-json=network.from=[{"podSelector": {}}]',
    '--set-json=network.to=[{"to": [{"podSelector": {"matchLabels": {"app": "redis"}}}]}]',
)
"""Values by which the chart makes all that it can."""


def ran(*command: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def rendered(*values: str) -> list[dict[str, Any]]:
    """What the chart makes."""
    text = ran(str(BIN / "helm"), "template", "faces", str(CHART), *values)
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(kind: str, *values: str) -> list[dict[str, Any]]:
    return [one for one in rendered(*values) if one["kind"] == kind]


def console_commands(page: Path) -> list[list[str]]:
    """Words of every command that a page shows behind `$`; what would be put into files is left out."""
    lines = re.findall(r"^\$ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    parts = [part for line in lines for part in line.split(" && ")]
    return [shlex.split(part.partition(" > ")[0]) for part in parts]


@dataclass(frozen=True, slots=True)
class Stage:
    """Instructions of a Dockerfile from one FROM to the next."""

    base: str
    instructions: tuple[tuple[str, str], ...]


def _stages() -> dict[str, Stage]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    whole = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    arguments: dict[str, str] = {}
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    instructions: list[tuple[str, str]] = []
    for line in filter(None, map(str.strip, whole.splitlines())):
        what, _, rest = line.partition(" ")
        if what == "ARG" and not found:
            name, _, value = rest.partition("=")
            arguments[name] = value
        elif what == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()  # type: ignore[union-attr]
            base = re.sub(r"^\$\{(\w+)\}$", lambda match: arguments[match[1]], base)
            instructions = []
            found[name] = (base, instructions)
        else:
            instructions.append((what, rest.strip()))
    return {name: Stage(base, tuple(lines)) for name, (base, lines) in found.items()}


STAGES = _stages()
TARGETS = ("cpu", "gpu")


@dataclass(frozen=True, slots=True)
class Image:
    """A target of the Dockerfile, with what it has of the stages below it."""

    instructions: tuple[tuple[str, str], ...]

    def last(self, what: str) -> str:
        """The instruction that holds."""
        return [rest for name, rest in self.instructions if name == what][-1]

    def words(self, what: str) -> list[str]:
        """A command as the list that it has to be where there is no shell."""
        words: list[str] = json.loads(self.last(what).partition("CMD ")[2] or self.last(what))
        return words

    @property
    def environment(self) -> dict[str, str]:
        """By ENV."""
        lines = [rest for name, rest in self.instructions if name == "ENV"]
        return dict(pair.split("=", 1) for line in lines for pair in shlex.split(line))


def image(target: str) -> Image:
    """What is built by `--target`."""
    instructions: tuple[tuple[str, str], ...] = ()
    while target in STAGES:
        instructions = STAGES[target].instructions + instructions
        target = STAGES[target].base
    return Image(instructions)


@dataclass(frozen=True, slots=True)
class Started:
    """A container of ours as it is started."""

    command: list[str]
    environment: dict[str, str]
    user: str
    mounts: dict[str, bool]
    """By the place where it is, whether it is read only."""

    def is_writable(self, path: Path) -> bool | None:
        """None where nothing is mounted that holds it: the root is read only and empty."""
        over = [place for place in self.mounts if PurePosixPath(path).is_relative_to(place)]
        return not self.mounts[max(over, key=len)] if over else None


def from_composition(name: str) -> Started:
    """A service that is built here."""
    service = COMPOSE["services"][name]
    below = image(service["build"]["target"])
    # What the image declares by itself has no name, and is gone with the container.
    mounts = {volume.split(":")[1]: volume.endswith(":ro") for volume in service.get("volumes", ())}
    mounts |= {place.split(":")[0]: False for place in service.get("tmpfs", ())}
    return Started(
        service.get("entrypoint", below.words("ENTRYPOINT")) + service.get("command", below.words("CMD")),
        below.environment | service.get("environment", {}),
        service.get("user", below.last("USER")),
        mounts,
    )


def from_chart(component: str, *values: str) -> Started:
    """A pod, by the component that it is."""
    pod = workloads(*values)[component]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    below = image(container["image"].rpartition(":")[2])
    own = pod["securityContext"] | container["securityContext"]
    return Started(
        container.get("command", below.words("ENTRYPOINT")) + container.get("args", below.words("CMD")),
        below.environment | {one["name"]: one["value"] for one in container["env"]},
        f"{own['runAsUser']}:{own['runAsGroup']}",
        {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]},
    )


def workloads(*values: str) -> dict[str, dict[str, Any]]:
    """What has pods in the chart, by the component that it is."""
    found = [one for kind in ("StatefulSet", "Deployment") for one in of_kind(kind, *values)]
    return {one["metadata"]["labels"][COMPONENT]: one for one in found}
