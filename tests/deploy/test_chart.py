"""The chart, as Helm makes it."""

import re
import subprocess
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from service.server import SHUTDOWN_SECONDS
from tests.deploy.described import (
    BIN,
    CHART,
    CHART_PAGE,
    COMPONENT,
    EVERYTHING,
    INSTALL,
    LIVE,
    PINNED,
    PYTHON,
    READY,
    ROOT,
    TARGETS,
    VARIABLES,
    console_commands,
    from_chart,
    image,
    of_kind,
    ran,
    rendered,
    workloads,
)

COMPONENTS = ("galleries", "translate")
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())


def test_the_chart_is_sound() -> None:
    ran(str(BIN / "helm"), "lint", "--strict", str(CHART))


@pytest.mark.parametrize(
    "settings", [(), EVERYTHING, ("--set=translate.autoscaling=false",), ("--set=translate.replicas=0",)]
)
def test_what_the_chart_makes_is_hardened(settings: tuple[str, ...]) -> None:
    documents = rendered(*settings)
    kinds = [document["kind"] for document in documents]
    assert {"StatefulSet", "NetworkPolicy", "PodDisruptionBudget", "Service"} <= set(kinds)
    assert ("Deployment" in kinds) == ("--set=translate.replicas=0" not in settings)
    assert ("HorizontalPodAutoscaler" in kinds) == (not any("translate." in setting for setting in settings))
    for one in workloads(*settings).values():
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        # Kubernetes would put FACEBRIDGE_... of its own there, and what is no setting is refused at the start.
        assert pod["enableServiceLinks"] is False
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
    (policy,) = of_kind("NetworkPolicy", *settings)
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert len(policy["spec"]["egress"]) == (2 if settings == EVERYTHING else 1)
    # A rule that names nobody lets everybody in.
    assert [bool(rule["from"]) for rule in policy["spec"]["ingress"]] == [True] * (2 if settings == EVERYTHING else 1)
    assert {rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]} == {"http"}


def test_rules_of_the_chart_are_those_of_prometheus() -> None:
    (rules,) = of_kind("PrometheusRule", *EVERYTHING)
    assert rules["spec"] == RULES


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


def container_of(component: str, *values: str) -> dict[str, Any]:
    (container,) = workloads(*values)[component]["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_pod_is_asked_where_the_service_answers(component: str) -> None:
    container = container_of(component)
    assert container["ports"] == [{"name": "http", "containerPort": int(image("cpu").environment["FACEBRIDGE_PORT"])}]
    asked = {what: container[f"{what}Probe"]["httpGet"] for what in ("startup", "liveness", "readiness")}
    assert {what: one.pop("path") for what, one in asked.items()} == {
        "startup": LIVE,
        "liveness": LIVE,
        "readiness": READY,
    }
    assert list(asked.values()) == [{"port": "http"}] * 3


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_pod_that_ends_has_the_time_that_it_needs(component: str) -> None:
    program, flag, code = container_of(component)["lifecycle"]["preStop"]["exec"]["command"]
    assert (program, flag) == (PYTHON, "-c")
    (seconds,) = re.fullmatch(r"import time; time\.sleep\((\d+)\)", code).groups()  # type: ignore[union-attr]
    pod = workloads()[component]["spec"]["template"]["spec"]
    assert int(seconds) + SHUTDOWN_SECONDS < pod["terminationGracePeriodSeconds"]


def test_pods_are_of_an_image_that_is_built_here_or_of_a_digest() -> None:
    assert {container_of(component)["image"] for component in COMPONENTS} <= {f"facebridge:{one}" for one in TARGETS}
    pinned = {container_of(one, f"--set=image.digest=sha256:{'a' * 64}")["image"] for one in COMPONENTS}
    assert [bool(PINNED.fullmatch(name)) for name in pinned] == [True]


def test_one_pod_keeps_galleries_and_values_reach_all() -> None:
    galleries = workloads()["galleries"]
    assert (galleries["kind"], galleries["spec"]["replicas"]) == ("StatefulSet", 1)
    (claim,) = galleries["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container_of("galleries")["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == from_chart("galleries").environment["FACEBRIDGE_DATA"]
    for component in COMPONENTS:
        pod = workloads()[component]["spec"]["template"]["spec"]
        (group,) = {pod["securityContext"]["fsGroup"], pod["securityContext"]["runAsGroup"]}
        assert group > 0
        (bundles,) = [one for one in pod["volumes"] if one["name"] == "bundles"]
        assert bundles["persistentVolumeClaim"] == {"claimName": "facebridge-bundles", "readOnly": True}
        told = from_chart(component, *EVERYTHING).environment
        assert (told["FACEBRIDGE_REDIS"], told["FACEBRIDGE_ENROL_DUPLICATES"]) == ("redis://redis:6379/0", "flag")


def test_secrets_are_those_that_the_page_has_made() -> None:
    assert f"(../../{CHART_PAGE.relative_to(ROOT)})" in INSTALL.read_text()
    made: dict[str, set[str]] = {}
    for words in console_commands(CHART_PAGE):
        if words[:4] == ["kubectl", "create", "secret", "generic"]:
            made[words[4]] = {word.removeprefix("--from-file=").partition("=")[0] for word in words[5:]}
    wanted: dict[str, set[str]] = {}
    for component in COMPONENTS:
        volumes = workloads()[component]["spec"]["template"]["spec"]["volumes"]
        (name,) = [volume["secret"]["secretName"] for volume in volumes if "secret" in volume]
        wanted[name] = {PurePosixPath(from_chart(component).environment["FACEBRIDGE_KEYS"]).name}
    (monitor,) = of_kind("ServiceMonitor", *EVERYTHING)
    credentials = monitor["spec"]["endpoints"][0]["authorization"]["credentials"]
    assert wanted | {credentials["name"]: {credentials["key"]}} == made


def _selected(selector: dict[str, str]) -> list[str]:
    """Components whose pods have these labels."""
    labels = {one: made["spec"]["template"]["metadata"]["labels"] for one, made in workloads(*EVERYTHING).items()}
    return [component for component in COMPONENTS if selector.items() <= labels[component].items()]


def test_what_is_found_by_labels_is_what_was_meant() -> None:
    services = of_kind("Service", *EVERYTHING)
    assert [_selected(one["spec"]["selector"]) for one in services] == [["galleries"], ["translate"]]
    assert [one["metadata"]["labels"][COMPONENT] for one in services] == ["galleries", "translate"]
    for one in services:
        assert one["spec"]["ports"] == [{"name": "http", "port": 8000, "targetPort": "http"}]
    budgets = [one["spec"] for one in of_kind("PodDisruptionBudget", *EVERYTHING)]
    assert [(_selected(one["selector"]["matchLabels"]), one["maxUnavailable"]) for one in budgets] == [
        (["galleries"], 0),
        (["translate"], 1),
    ]
    (policy,) = of_kind("NetworkPolicy", *EVERYTHING)
    assert _selected(policy["spec"]["podSelector"]["matchLabels"]) == [*COMPONENTS]


def test_prometheus_finds_both_and_calls_them_as_its_alerts_do() -> None:
    (monitor,) = [one["spec"] for one in of_kind("ServiceMonitor", *EVERYTHING)]
    (endpoint,) = monitor["endpoints"]
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]
    assert (endpoint["port"], endpoint["path"]) == ("http", config["metrics_path"])
    assert endpoint["authorization"]["type"] == config["authorization"]["type"]
    for service in of_kind("Service", *EVERYTHING):
        labels = service["metadata"]["labels"]
        assert monitor["selector"]["matchLabels"].items() <= labels.items()
        assert labels[monitor["jobLabel"]] == config["job_name"]


def test_replicas_are_added_by_a_rule_that_there_is() -> None:
    (scaler,) = [one["spec"] for one in of_kind("HorizontalPodAutoscaler")]
    scaled = workloads()["translate"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": scaled["apiVersion"],
        "kind": scaled["kind"],
        "name": scaled["metadata"]["name"],
    }
    (metric,) = scaler["metrics"]
    records = [rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule]
    assert [metric["pods"]["metric"]["name"]] == records
