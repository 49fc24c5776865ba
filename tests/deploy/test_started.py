"""However Facebridge is started, by image, composition or chart: what it is told is what it takes, and what it needs is there."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from service.api.routes import health
from service.api.scopes import NEEDS, OPEN
from service.cli import build_parser
from service.settings import PREFIX, Settings, load_settings
from tests.deploy.described import (
    CHART_PAGE,
    COMPOSE,
    EVERYTHING,
    INSTALL,
    LIVE,
    PYTHON,
    READY,
    TARGETS,
    Started,
    console_commands,
    from_chart,
    from_composition,
    image,
)

OURS = [name for name, service in COMPOSE["services"].items() if "build" in service]
STARTED: dict[str, Callable[[], Started]] = {
    **{f"composition: {name}": partial(from_composition, name) for name in OURS},
    "chart: galleries": partial(from_chart, "galleries"),
    "chart: translate": partial(from_chart, "translate"),
    "chart: galleries, with everything": partial(from_chart, "galleries", *EVERYTHING),
    "chart: translate, with everything": partial(from_chart, "translate", *EVERYTHING),
}
each = pytest.mark.parametrize("name", STARTED)


def settings_of(words: list[str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As the process takes them from its command and its environment, or refuses them."""
    assert words[:3] == [PYTHON, "-m", "service"]
    options = vars(build_parser().parse_args(words[3:]))
    assert options.pop("command") == "serve"
    del options["run"]
    for variable in os.environ:
        if variable.startswith(PREFIX):
            monkeypatch.delenv(variable)
    for variable, value in environment.items():
        # Neither engine takes `off` of YAML, which is no text, for the word.
        assert isinstance(value, str), variable
        monkeypatch.setenv(variable, value)
    return load_settings(options)


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_starts_by_itself(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = image(target)
    settings = settings_of(made.words("ENTRYPOINT") + made.words("CMD"), made.environment, monkeypatch)
    assert settings.device == {"cpu": "cpu", "gpu": "cuda"}[target]
    assert made.last("USER") == image("cpu").last("USER")
    assert (settings.host, str(settings.port)) == ("0.0.0.0", made.last("EXPOSE"))
    assert settings.keys is not None
    assert made.last("VOLUME") == f'["{settings.data}", "{settings.keys.parent}"]'


@each
def test_what_is_told_is_taken_and_what_is_needed_is_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started = STARTED[name]()
    settings = settings_of(started.command, started.environment, monkeypatch)
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)
    assert started.is_writable(settings.bundles) is False
    assert started.is_writable(settings.data) is True
    # Without a file of keys nothing is served beyond a container.
    assert settings.keys is not None
    assert started.is_writable(settings.keys) is not None


@each
def test_a_replica_keeps_nothing_and_the_others_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started = STARTED[name]()
    settings = settings_of(started.command, started.environment, monkeypatch)
    is_replica = "translate" in name
    assert (settings.galleries, settings.audit) == (("off", "off") if is_replica else ("on", "on"))
    # Keys are changed by one.
    assert not is_replica or started.is_writable(settings.keys or settings.data) is False


@each
def test_it_is_started_as_nobody_to_whom_its_folders_belong(name: str) -> None:
    started = STARTED[name]()
    made = image("cpu")
    assert started.user == made.last("USER")
    # By numbers, as names are not enough for Kubernetes to see that it is not root.
    assert all(part.isdigit() and int(part) > 0 for part in started.user.split(":"))
    owned = [rest for what, rest in made.instructions if what == "COPY" and "--chown=" in rest]
    assert [line.split()[-1] for line in owned] == ["/data", "/keys"]
    assert {f"--chown={started.user}"} == {word for line in owned for word in line.split() if "--chown" in word}


def test_whoever_asks_how_it_is_needs_no_key() -> None:
    assert {LIVE, READY} <= OPEN & {getattr(route, "path", "") for route in health.router.routes}


def own_commands(page: Path) -> list[list[str]]:
    """Words of Facebridge's own command, in a container or without."""
    found = []
    for words in console_commands(page):
        if words[:3] == ["docker", "compose", "run"]:
            assert words[3:5] == ["--rm", "-T"]
            assert words[5] in OURS
            found.append(words[6:])
        elif words[0] == "facebridge":
            found.append(words[1:])
    return found


@pytest.mark.parametrize("page", [INSTALL, CHART_PAGE], ids=lambda page: page.name)
def test_commands_by_which_it_is_installed_are_taken(page: Path) -> None:
    taken = [vars(build_parser().parse_args(words)) for words in own_commands(page)]
    assert [one for one in taken if one["command"] == "keys"]
    # By that key Prometheus may scrape, and nothing else.
    (scopes,) = [one["scopes"] for one in taken if one.get("name") == "prometheus"]
    assert scopes == [NEEDS["GET", "/metrics"]]
