"""The image, what starts it on one machine, and what on many: as far as can be told without an engine of containers."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from deploy.image.trim import size_of, trim
from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CHART = ROOT / "deploy" / "helm" / "facebridge"
MOST_BYTES = 400_000_000
BASE_BYTES = 60_000_000
"""Of the image that ours is built upon, at most."""
PINNED = re.compile(r"\S+@sha256:[0-9a-f]{64}")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
VARIABLES = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


def ran(*command: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_dockerfile_is_sound_and_bases_are_named_by_digest() -> None:
    assert ran(str(BIN / "hadolint"), "Dockerfile") == ""
    text = (ROOT / "Dockerfile").read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
    own = {name for _, name in stages}
    assert own >= {"cpu", "gpu"}
    for base, _ in stages:
        name = re.sub(r"^\$\{(\w+)\}$", lambda match: arguments[match[1]], base)
        assert name in own or PINNED.fullmatch(name), name
    assert re.search(r"^USER 65532:65532$", text, re.MULTILINE)
    assert "HEALTHCHECK" in text
    assert set(re.findall(rf"\b({PREFIX}\w+)=", text)) <= VARIABLES


def _needed() -> dict[str, importlib.metadata.Distribution]:
    """What `.[cpu]` brings, by the names of packages."""
    found: dict[str, importlib.metadata.Distribution] = {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["cpu"])]
    while waiting:
        asked = waiting.pop()
        one = importlib.metadata.distribution(asked.name)
        is_known = one.metadata["Name"] in found and not asked.extras
        found[one.metadata["Name"]] = one
        for text in () if is_known else one.requires or ():
            requirement = Requirement(text)
            extras = [{"extra": extra} for extra in asked.extras] or [{"extra": ""}]
            if requirement.marker is None or any(requirement.marker.evaluate(extra) for extra in extras):
                waiting.append(requirement)
    return found


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the image besides its base."""
    folder = tmp_path_factory.mktemp("image")
    for one in _needed().values():
        for file in one.files or ():
            source, target = Path(str(one.locate_file(file))), folder / file
            if ".." in file.parts or not source.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)
    for room in ("models", "service", "training"):
        shutil.copytree(ROOT / room, folder / room)
    about = folder / "facebridge-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: facebridge\nVersion: 0.1.0\n")
    trim(folder)
    return folder


def test_an_image_holds_neither_torch_nor_a_compiler_and_is_small(packages: Path) -> None:
    names = {path.name for path in packages.iterdir()}
    assert {"models", "service", "onnxruntime", "faiss", "pyarrow", "redis"} <= names
    assert not {"torch", "training", "matplotlib", "pytest", "pip", "setuptools", "nvidia"} & names
    assert [path for path in packages.rglob("*") if re.fullmatch(r"(gcc|cc|g\+\+|clang|ld|nvcc|make)", path.name)] == []
    size = size_of(packages)
    sys.stdout.write(f"{size / 1e6:.0f} MB of packages\n")
    assert size + BASE_BYTES < MOST_BYTES


CHECK = """
import sys
from models.feature_set import FeatureSet
from models.parquet import read_parquet, write_parquet
from models.space import Space
import faiss, numpy as np, onnxruntime, service.cli
from models.bundle import read_bundle
from pathlib import Path
rows = np.eye(3, dtype=np.float32)
names = np.array(["a", "b", "c"])
made = FeatureSet(Space("x", 3, "external:x"), rows, names, names)
assert read_parquet(write_parquet(made), what="x").feature.tolist() == rows.tolist()
assert read_bundle(Path(sys.argv[1])).manifest.kind == "encoder"
sys.exit(service.cli.run(["check-bundle", sys.argv[1]]))
"""


def test_what_was_trimmed_is_not_missed(packages: Path) -> None:
    bundle = ROOT / "deploy" / "demo" / "bundles" / "edge"
    environment = {"PYTHONPATH": str(packages), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-S", "-c", CHECK, str(bundle)],
        env=environment,
        cwd=packages,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "sound; encoder" in done.stdout


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_every_service_of_the_composition_is_hardened(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert PINNED.fullmatch(service["image"]) or service["build"]["target"] in ("cpu", "gpu")
    # Nobody beyond this machine gets to it but by what stands before it.
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or source == "./bundles" or (ROOT / source).exists(), volume
    assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
    for other, wanted in service.get("depends_on", {}).items():
        assert wanted == {"condition": "service_healthy"}
        assert "healthcheck" in COMPOSE["services"][other]
    own = {variable for variable in service.get("environment", {}) if variable.startswith(PREFIX)}
    assert own <= VARIABLES


def test_no_secret_stands_in_the_composition() -> None:
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./secrets/")
    assert "/secrets/" in (ROOT / ".gitignore").read_text()


def rendered(*settings: str) -> list[dict[str, Any]]:
    text = ran(str(BIN / "helm"), "template", "faces", str(CHART), *settings)
    return [document for document in yaml.safe_load_all(text) if document]


def test_the_chart_is_sound() -> None:
    ran(str(BIN / "helm"), "lint", "--strict", str(CHART))


EVERYTHING = (
    "--set=redis.url=redis://redis:6379/0",
    "--set=serviceMonitor.enabled=true",
    "--set=rules.enabled=true",
    "--set=settings.FACEBRIDGE_ENROL_DUPLICATES=flag",
    '--set-json=network.from=[{"podSelector": {}}]',
    '--set-json=network.to=[{"to": [{"podSelector": {"matchLabels": {"app": "redis"}}}]}]',
)


@pytest.mark.parametrize(
    "settings", [(), EVERYTHING, ("--set=translate.autoscaling=false",), ("--set=translate.replicas=0",)]
)
def test_what_the_chart_makes_is_hardened(settings: tuple[str, ...]) -> None:
    documents = rendered(*settings)
    kinds = [document["kind"] for document in documents]
    assert {"StatefulSet", "NetworkPolicy", "PodDisruptionBudget", "Service"} <= set(kinds)
    pods = [one for one in documents if one["kind"] in ("StatefulSet", "Deployment")]
    assert ("Deployment" in kinds) == ("--set=translate.replicas=0" not in settings)
    assert ("HorizontalPodAutoscaler" in kinds) == (not any("translate." in setting for setting in settings))
    for one in pods:
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"startupProbe", "livenessProbe", "readinessProbe", "resources"} <= container.keys()
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        claims = {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", ())}
        assert mounts == {volume["name"] for volume in pod["volumes"]} | claims
        assert {variable["name"] for variable in container["env"]} <= VARIABLES
        assert one["spec"]["selector"]["matchLabels"].items() <= one["spec"]["template"]["metadata"]["labels"].items()
    (policy,) = [one for one in documents if one["kind"] == "NetworkPolicy"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert len(policy["spec"]["egress"]) == (2 if settings == EVERYTHING else 1)


def test_rules_of_the_chart_are_those_of_prometheus() -> None:
    (rules,) = [one for one in rendered(*EVERYTHING) if one["kind"] == "PrometheusRule"]
    assert rules["spec"] == yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("image.digest=sha256:12", "image.digest"),
        ("redis.url=http://redis", "redis.url"),
        ("settings.PORT=1", "settings"),
        ("keys.secret=", "keys.secret"),
        ("translate.replicas=-1", "translate.replicas"),
    ],
)
def test_values_that_cannot_be_are_refused(setting: str, says: str) -> None:
    done = subprocess.run(
        [str(BIN / "helm"), "template", "faces", str(CHART), "--set", setting],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert says in done.stderr.replace("/", ".")


def test_grafana_is_given_what_there_is() -> None:
    grafana = COMPOSE["services"]["grafana"]
    mounted = dict(volume.removesuffix(":ro").split(":", 1) for volume in grafana["volumes"])
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    (folder,) = [source for source, target in mounted.items() if Path(target) == home.parent]
    assert json.loads((ROOT / folder / home.name).read_text())["uid"] == "facebridge-overview"
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/facebridge.yaml").read_text())
    assert provider["providers"][0]["options"]["path"] == str(home.parent)
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
