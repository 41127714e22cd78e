from pathlib import Path

import pytest
from pydantic import ValidationError

from bento_service.settings import Settings
from dashboard.settings import DashboardSettings


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any setting of ours."""
    for name in (*Settings.model_fields, *DashboardSettings.model_fields):
        monkeypatch.delenv(f"LIGHTBOX_{name.upper()}", raising=False)
    return monkeypatch


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_setting_comes_from_its_argument_or_else_its_variable(environment: pytest.MonkeyPatch) -> None:
    for name, value in {"LIGHTBOX_LANES": "3", "LIGHTBOX_PORT": "4000", "PORT": "1", "LIGHTBOX_API_KEY": "x"}.items():
        environment.setenv(name, value)
    assert Settings() == Settings(lanes=3, port=4000)
    assert Settings(port=5000).port == 5000


@pytest.mark.parametrize("space", [" ", "\t", "\r\n"])
def test_white_space_around_a_value_is_removed(environment: pytest.MonkeyPatch, space: str) -> None:
    plain = {
        "MODELS": "a",
        "ENGINE": "openvino",
        "TORCH_COMPILE": "true",
        "PORT": "4000",
        "DATA_DIR": "/data",
        "HOST": "0.0.0.0",  # noqa: S104 - the text of a setting
        "JOURNAL_URL": "postgresql://db/lightbox",
        "URL": "http://api:3000",
        "PUBLIC_URL": "https://lightbox.example/",
        "DASHBOARD_MAX_FILES": "7",
    }
    for name, value in plain.items():
        environment.setenv(f"LIGHTBOX_{name}", value)
    expected = Settings(), DashboardSettings()
    for name, value in plain.items():
        environment.setenv(f"LIGHTBOX_{name}", f"{space}{value}{space}")

    assert (Settings(), DashboardSettings()) == expected
    assert expected[1].public_url == "https://lightbox.example"


def test_an_empty_variable_counts_as_unset(environment: pytest.MonkeyPatch) -> None:
    unset = Settings(), DashboardSettings()
    for value in ("", " "):
        for name in (*Settings.model_fields, *DashboardSettings.model_fields):
            environment.setenv(f"LIGHTBOX_{name.upper()}", value)
        assert (Settings(), DashboardSettings()) == unset


@pytest.mark.parametrize(
    ("value", "models"),
    [
        ("efficientnet_lite1", ("efficientnet_lite1",)),
        ("b,a", ("b", "a")),
        (" a , timm/resnet50.a1_in1k ,, ", ("a", "timm/resnet50.a1_in1k")),
        ("a,b,a", ("a", "b")),
    ],
)
def test_models_are_split_at_commas_in_order_without_duplicates(
    environment: pytest.MonkeyPatch, value: str, models: tuple[str, ...]
) -> None:
    environment.setenv("LIGHTBOX_MODELS", value)
    assert Settings().models == models


def test_the_first_model_is_the_default_unless_another_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LIGHTBOX_MODELS", "a,b")
    assert Settings().default_model_name == "a"
    environment.setenv("LIGHTBOX_DEFAULT_MODEL", "b")
    assert Settings().default_model_name == "b"


def test_a_default_model_that_is_not_served_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LIGHTBOX_MODELS", "a,b")
    environment.setenv("LIGHTBOX_DEFAULT_MODEL", "c")
    with pytest.raises(
        ValidationError, match="LIGHTBOX_DEFAULT_MODEL is 'c', which is not among LIGHTBOX_MODELS: a, b"
    ):
        Settings()


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("LIGHTBOX_MODELS", " , ", "at least 1 item"),
        ("LIGHTBOX_PORT", "0", "greater than or equal to 1"),
        ("LIGHTBOX_PORT", "http", "valid integer"),
        ("LIGHTBOX_ENGINE", "tensorflow", "'auto', 'openvino', 'onnxruntime' or 'torch'"),
        ("LIGHTBOX_DEVICE", "tpu", "'auto', 'cpu' or 'cuda'"),
        ("LIGHTBOX_TARGET_P99_MS", "-1", "greater than 0"),
        ("LIGHTBOX_WORKERS", "65", "less than or equal to 64"),
        ("LIGHTBOX_MAX_QUEUE_ITEMS", "0", "greater than or equal to 1"),
        ("LIGHTBOX_DRAIN_TIMEOUT_S", "601", "less than or equal to 600"),
        ("LIGHTBOX_JOURNAL_RETENTION_DAYS", "36501", "less than or equal to 36500"),
        ("LIGHTBOX_JOURNAL_RETENTION_DAYS", "0", "greater than 0"),
        ("LIGHTBOX_JOURNAL_MAX_ROWS", str(10**30), "less than or equal to 1000000000"),
    ],
)
def test_a_value_outside_its_limits_is_refused_with_the_limits(
    environment: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    environment.setenv(variable, value)
    with pytest.raises(ValidationError) as refusal:
        Settings()
    [error] = refusal.value.errors()
    assert error["loc"] == (variable,)
    assert allowed in error["msg"]


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "https://app.example.org",
        "http://localhost:8080",
        "http://[::1]:3000",
        "capacitor://localhost",
        "http://a:443",
    ],
)
def test_origins_as_browsers_send_them_are_accepted(environment: pytest.MonkeyPatch, origins: str) -> None:
    environment.setenv("LIGHTBOX_CORS_ORIGINS", f" {origins} ,https://b.example.org")

    assert Settings().cors_origins == (origins, "https://b.example.org")


@pytest.mark.parametrize(
    "origin",
    [
        *("app.example.org", "https://app.example.org/", "https://app.example.org/path", "https://App.example.org"),
        *("https://app.example.org:443", "http://app.example.org:80", "https://*.example.org"),
        *("https://user@app.example.org", "https://a b", "null"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(environment: pytest.MonkeyPatch, origin: str) -> None:
    environment.setenv("LIGHTBOX_CORS_ORIGINS", f"https://a.example.org, {origin}")
    with pytest.raises(ValidationError) as refusal:
        Settings()

    [error] = refusal.value.errors()
    assert error["loc"] == ("LIGHTBOX_CORS_ORIGINS",)
    assert f"{origin!r} is no origin" in error["msg"]


def test_the_journal_lies_in_the_data_folder_unless_it_has_a_url(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LIGHTBOX_DATA_DIR", "/data")
    assert Settings().data_dir == Path("/data")
    assert Settings().resolved_journal_url == "sqlite:////data/journal.sqlite3"
    environment.setenv("LIGHTBOX_JOURNAL_URL", "postgresql://db/lightbox")
    assert Settings().resolved_journal_url == "postgresql://db/lightbox"


def test_the_journals_password_is_never_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LIGHTBOX_JOURNAL_URL", "postgresql://lightbox:s3cret@db/lightbox")
    shown = f"{Settings()!r}{Settings().model_dump()}{Settings().model_dump_json()}"
    environment.setenv("LIGHTBOX_DEFAULT_MODEL", "nothing")
    with pytest.raises(ValidationError) as refusal:
        Settings()
    assert "s3cret" not in f"{shown}{refusal.value}{refusal.value!r}"


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if field.annotation is float])
def test_a_number_has_to_be_finite(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(f"LIGHTBOX_{name.upper()}", value)
    with pytest.raises(ValidationError, match=f"LIGHTBOX_{name.upper()}"):
        Settings()
