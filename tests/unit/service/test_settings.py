from pathlib import Path
from typing import Any

import pytest

from service.errors import StartupError
from service.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the settings of whoever runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FACEBRIDGE_{name.upper()}", raising=False)


def refused(flags: dict[str, Any]) -> str:
    with pytest.raises(StartupError) as failure:
        load_settings(flags)
    message = str(failure.value)
    assert "\n" not in message
    return message


def test_without_anything_given_the_service_listens_on_this_machine_only() -> None:
    settings = load_settings({})
    assert (settings.host, settings.port, settings.insecure_bind) == ("127.0.0.1", 8000, False)
    assert (settings.bundles, settings.data, settings.device) == (Path("bundles"), Path("data"), "auto")


def test_the_environment_gives_settings_and_flags_win_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBRIDGE_PORT", "9001")
    monkeypatch.setenv("FACEBRIDGE_BUNDLES", "/srv/bundles")
    monkeypatch.setenv("FACEBRIDGE_INSECURE_BIND", "true")
    settings = load_settings({"port": "9002"})
    assert (settings.port, settings.bundles, settings.insecure_bind) == (9002, Path("/srv/bundles"), True)


def test_an_unknown_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBRIDGE_BUNDELS", "secret-value")
    message = refused({})
    assert message.startswith("FACEBRIDGE_BUNDELS: no such setting")
    assert "secret-value" not in message


def test_variables_of_the_training_half_are_not_the_services_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBRIDGE_SHARED", "/somewhere")
    monkeypatch.setenv("FACEBRIDGE_ENCODERS", "/elsewhere")
    assert load_settings({}).port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "-1"),
        ("port", "65536"),
        ("port", "http"),
        ("port", ""),
        ("device", "tpu"),
        ("log_level", "loud"),
        ("insecure_bind", "perhaps"),
        ("max_json_bytes", "1023"),
        ("max_top_k", "0"),
        ("batch_rows", "1.5"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_the_settings_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert refused({name: value}).startswith(f"setting {name}: ")
    monkeypatch.setenv(f"FACEBRIDGE_{name.upper()}", value)
    assert refused({}).startswith(f"setting {name}: ")


def test_a_flag_that_is_no_setting_is_refused() -> None:
    assert refused({"colour": "red"}).startswith("setting colour: ")


def test_every_setting_says_what_it_is_for() -> None:
    undescribed = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undescribed == []


def test_settings_do_not_change_once_they_are_read() -> None:
    settings = load_settings({})
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"max_top_k": 100, "max_candidates": 50}, "max_top_k is more than max_candidates"),
        ({"low_confidence": "refuse", "min_confidence": 0}, "low_confidence is refuse, and min_confidence 0"),
        ({"duplicate_fmr": 1e-4}, "duplicate_fmr is given, and enrol_duplicates is allow"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: dict[str, Any], says: str) -> None:
    assert says in refused(flags)


def test_one_of_them_alone_may_be_what_somebody_wants() -> None:
    for flags in (
        {"max_candidates": 50},
        {"queue_rows": 10, "batch_rows": 1024},
        {"min_confidence": 0},
        {"galleries": "off", "index_recall": 0.9},
    ):
        # Of several replicas some keep no galleries, and are told the same.
        load_settings(flags)


@pytest.mark.parametrize("wrong", ["nonsense", "collector:4318", "ftp://collector", "http://a b"])
def test_where_traces_are_sent_is_an_address(wrong: str) -> None:
    said = refused({"otlp_endpoint": wrong})
    assert said.startswith("setting otlp_endpoint: ")
    assert said.endswith("give an address, such as http://collector:4318")
    assert load_settings({"otlp_endpoint": "http://collector:4318"}).otlp_endpoint
