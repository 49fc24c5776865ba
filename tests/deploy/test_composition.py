"""What starts it on one machine, with Redis, Prometheus and Grafana."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import redis
import yaml
from redis.exceptions import RedisError

from service.server import SHUTDOWN_SECONDS
from service.settings import PREFIX
from tests.deploy.described import COMPOSE, INSTALL, PINNED, ROOT, STAGES, TARGETS, VARIABLES, from_composition, image
from tests.redis_server import WAIT_SECONDS, needs_redis

SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCRAPED = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
HEALTH = {
    "redis": ["redis-cli", "ping"],
    "prometheus": ["wget", "-qO-", "http://127.0.0.1:9090/-/ready"],
    "grafana": ["wget", "-qO-", "http://127.0.0.1:3000/api/health"],
}
"""By what each of the others tells how it is: programs that its image has, on a path that it has."""
NOBODY_BY_ITSELF = ("prometheus", "grafana")
"""Whose images start as somebody who is not root, if nothing else is said."""
GIVEN = "/run/secrets/"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_of_the_composition_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    # Nobody beyond this machine gets to it but by what stands before it.
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    for other, wanted in service.get("depends_on", {}).items():
        assert wanted == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]
    own = {variable for variable in service.get("environment", {}) if variable.startswith(PREFIX)}
    assert own <= VARIABLES


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_an_image_is_built_here_or_named_by_its_digest(name: str) -> None:
    service = SERVICES[name]
    if name in HEALTH:
        assert "build" not in service
        assert PINNED.fullmatch(service["image"])
    else:
        target = service["build"]["target"]
        assert target in set(TARGETS) & STAGES.keys()
        assert (service["image"], service["build"]["context"]) == (f"facebridge:{target}", ".")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_nobody_of_the_composition_is_root(name: str) -> None:
    user = str(SERVICES[name].get("user", "" if name in NOBODY_BY_ITSELF else "0"))
    assert re.fullmatch(r"([1-9]\d*(:[1-9]\d*)?)?", user), user
    assert bool(user) is (name not in NOBODY_BY_ITSELF)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_how_a_service_is_is_asked_by_what_its_image_has(name: str) -> None:
    if name not in HEALTH:
        # As the image says it.
        assert "healthcheck" not in SERVICES[name]
        return
    assert SERVICES[name]["healthcheck"]["test"] == ["CMD", *HEALTH[name]]
    asked = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", " ".join(HEALTH[name]))}
    assert asked == {int(port.rpartition(":")[2]) for port in SERVICES[name].get("ports", ())}


def test_a_service_that_ends_has_the_time_that_it_needs() -> None:
    for name in SERVICES.keys() - HEALTH.keys():
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > SHUTDOWN_SECONDS


def _mounts(name: str) -> dict[str, str]:
    """What is there in a container, by its place; of what is not to be written to `:ro` is taken off."""
    pairs = [volume.removesuffix(":ro").split(":") for volume in SERVICES[name].get("volumes", ())]
    return {place: source for source, place in pairs}


def test_volumes_are_there_and_files_of_this_machine_are_read_only() -> None:
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]
    named = {volume.split(":")[0] for volume in volumes if not volume.startswith(".")}
    assert named == COMPOSE["volumes"].keys()
    for volume in volumes:
        source = volume.split(":")[0]
        if source.startswith("."):
            assert source == "./bundles" or (ROOT / source).exists(), volume
            assert volume.endswith(":ro"), volume
    told = from_composition("facebridge").environment
    for kept in (told["FACEBRIDGE_DATA"], str(Path(told["FACEBRIDGE_KEYS"]).parent)):
        assert _mounts("facebridge")[kept] in COMPOSE["volumes"]
    # Keys are changed by the one that keeps galleries.
    writers = [name for name, service in SERVICES.items() if "keys:/keys" in service.get("volumes", ())]
    assert writers == ["facebridge"]


def test_secrets_are_made_given_and_read() -> None:
    made = {f"./{path}" for path in re.findall(r" > (secrets/\S+)$", INSTALL.read_text(), re.MULTILINE)}
    assert made == {secret["file"] for secret in COMPOSE["secrets"].values()}
    assert "/secrets/" in (ROOT / ".gitignore").read_text()
    given = {(name, secret) for name, service in SERVICES.items() for secret in service.get("secrets", ())}
    assert {secret for _, secret in given} == COMPOSE["secrets"].keys()
    read = {("prometheus", SCRAPED[0]["authorization"]["credentials_file"])}
    read |= {(name, text) for name in SERVICES for text in _told(name) if text.startswith(GIVEN)}
    assert read == {(name, f"{GIVEN}{secret}") for name, secret in given}


def _told(name: str) -> list[str]:
    return [str(text) for text in (*SERVICES[name].get("environment", {}).values(), *SERVICES[name].get("command", ()))]


def test_profiles_and_ports_are_as_the_page_says() -> None:
    page = INSTALL.read_text()
    (profile, num) = re.findall(r"`docker compose --profile (\w+) up -d` adds (two)", page)[0]
    added = {name: service for name, service in SERVICES.items() if "profiles" in service}
    assert {name: service["profiles"] for name, service in added.items()} == {"translate": [profile]}
    assert f"docker compose --profile {profile} up" in (ROOT / "docker-compose.yml").read_text()
    assert added["translate"]["deploy"]["replicas"] == {"two": 2}[num]
    # Two cannot have one port of this machine.
    assert "ports" not in added["translate"]
    told = {"facebridge": "`127.0.0.1:8000`", "grafana": "Grafana on `:3000`", "prometheus": "Prometheus on `:9090`"}
    assert {name for name, service in SERVICES.items() if "ports" in service} == told.keys()
    for name, text in told.items():
        assert text in page
        port = re.findall(r":(\d+)`", text)[0]
        assert SERVICES[name]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert {"`galleries`", "`keys`"} <= set(re.findall(r"`\w+`", page))


def test_services_are_called_by_names_that_there_are() -> None:
    ours = SERVICES.keys() - HEALTH.keys()
    port = int(image("cpu").environment["FACEBRIDGE_PORT"])
    (names,) = [one["dns_sd_configs"] for one in SCRAPED]
    assert [(set(one["names"]), one["port"]) for one in names] == [(ours, port)]
    for name in ours:
        assert SERVICES[name]["environment"]["FACEBRIDGE_REDIS"] == "redis://redis:6379/0"
        assert SERVICES[name]["depends_on"].keys() == {"redis"}
    assert SERVICES["redis"]["expose"] == ["6379"]


def test_prometheus_reads_and_keeps_what_is_mounted() -> None:
    told = dict(flag[2:].split("=", 1) for flag in SERVICES["prometheus"]["command"])
    mounts = _mounts("prometheus")
    assert mounts[told["storage.tsdb.path"]] in COMPOSE["volumes"]
    config = PurePosixPath(told["config.file"])
    assert (ROOT / mounts[str(config.parent)] / config.name).is_file()


@pytest.mark.needs("prometheus")
def test_prometheus_takes_its_flags() -> None:
    done = subprocess.run(
        ["prometheus", *SERVICES["prometheus"]["command"], "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    times = [flag for flag in SERVICES["prometheus"]["command"] if ".retention.time=" in flag]
    assert [bool(re.search(r"=\d+[hdwy]$", flag)) for flag in times] == [True]


@needs_redis
def test_redis_is_whole_or_empty(tmp_path: Path) -> None:
    """What must not happen is that it throws away part of what it has."""
    address = str(tmp_path / "redis.sock")
    command = [*SERVICES["redis"]["command"], "--port", "0", "--unixsocket", address, "--dir", str(tmp_path)]
    assert shutil.which(command[0])
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with redis.Redis(unix_socket_path=address) as client:
            deadline = time.monotonic() + WAIT_SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                try:
                    settings = client.config_get("maxmemory*", "save", "appendonly")
                    break
                except RedisError:
                    time.sleep(0.02)
            else:
                raise AssertionError("redis-server does not answer")
        program, *words = HEALTH["redis"]
        subprocess.run([program, "-s", address, *words], check=True, capture_output=True)
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)
    assert (settings["maxmemory-policy"], settings["save"], settings["appendonly"]) == ("noeviction", "", "no")
    assert int(settings["maxmemory"]) == 256 << 20


def test_grafana_is_given_what_there_is() -> None:
    mounts = {Path(place): source for place, source in _mounts("grafana").items()}
    told = SERVICES["grafana"]["environment"]
    # It says nothing of a name that it does not know.
    assert told.keys() == {
        "GF_SECURITY_ADMIN_PASSWORD__FILE",
        "GF_ANALYTICS_REPORTING_ENABLED",
        "GF_ANALYTICS_CHECK_FOR_UPDATES",
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH",
    }
    home = Path(told["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert json.loads((ROOT / mounts[home.parent] / home.name).read_text())["uid"] == "facebridge-overview"
    assert mounts[Path("/var/lib/grafana")] in COMPOSE["volumes"]
    made = ROOT / mounts[Path("/etc/grafana/provisioning")]
    provider = yaml.safe_load((made / "dashboards" / "facebridge.yaml").read_text())
    assert provider["providers"][0]["options"]["path"] == str(home.parent)
    source = yaml.safe_load((made / "datasources" / "prometheus.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
