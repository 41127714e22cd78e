"""What the Compose files promise, whatever runs them."""

import re
from pathlib import Path

import pytest

from bento_service.settings import Settings
from dashboard.settings import DashboardSettings
from lightbox_client.proxies import find_proxy
from tests.unit.deploy.compose_files import (
    COMPOSE,
    EXAMPLE,
    GPU,
    SWARM,
    every_compose,
    run_compose,
    services_of,
    variables_of,
    with_defaults,
)

SERVICES = services_of(COMPOSE)


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_is_without_what_hardens_and_bounds_the_others(name: str) -> None:
    service = SERVICES[name]
    ports = [with_defaults(port) for port in service.get("ports", ())]

    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert {
        "security_opt",
        "cpus",
        "mem_limit",
        "pids_limit",
        "logging",
        "restart",
        "stop_grace_period",
    } <= service.keys()
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_is_started_with_every_profile_that_it_has(name: str) -> None:
    # What an unselected profile leaves out would keep the service from starting.
    needs = SERVICES[name].get("depends_on", {})

    assert all(set(SERVICES[need].get("profiles", ())) <= set(SERVICES[name].get("profiles", ())) for need in needs)


@pytest.mark.parametrize("extra", [(), (GPU,), (SWARM,)], ids=["alone", "with a GPU", "on a Swarm"])
@every_compose
def test_each_compose_that_is_here_takes_the_files(command: tuple[str, ...], extra: tuple[Path, ...]) -> None:
    run_compose(command, *(argument for path in (COMPOSE, *extra) for argument in ("-f", str(path))), "config")


def test_the_service_has_the_time_that_a_drain_takes() -> None:
    assert int(SERVICES["api"]["stop_grace_period"][:-1]) > Settings().stop_timeout_s


def test_the_files_hold_no_secret() -> None:
    named = re.compile(r"password|secret|token|_key$", re.IGNORECASE)
    values = {
        key: value
        for path in (COMPOSE, GPU, SWARM)
        for service in services_of(path).values()
        for key, value in service.get("environment", {}).items()
        if named.search(key)
    }

    assert values == {"POSTGRES_PASSWORD": "${POSTGRES_PASSWORD:-}"}
    assert re.search(r"^#POSTGRES_PASSWORD=$", EXAMPLE.read_text(), re.MULTILINE)
    assert not re.search(r"://\w+:\w+@", COMPOSE.read_text())


def test_containers_are_given_settings_that_exist() -> None:
    known = {f"LIGHTBOX_{name.upper()}" for settings in (Settings, DashboardSettings) for name in settings.model_fields}
    given = {
        key
        for path in (COMPOSE, GPU, SWARM)
        for name in ("api", "dashboard")
        for key in services_of(path).get(name, {}).get("environment", {})
    }

    assert given <= known | {"NO_PROXY", "no_proxy"}


def test_no_proxy_that_docker_gives_to_containers_stands_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    asked = {"dashboard": ["http://api:3000", "http://nginx:8080"], "grafana": ["http://prometheus:9090"]}

    for name, urls in asked.items():
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(variable, with_defaults(SERVICES[name]["environment"][variable]))
        assert [find_proxy(url) for url in urls] == [None] * len(urls)
    assert find_proxy("http://elsewhere.example") == "http://proxy.example:3128"


def test_an_operator_can_choose_every_setting_that_the_container_does_not_decide() -> None:
    decided_by = {
        "the image, which other containers and the health check find the service by": {"host", "port", "heartbeat_dir"},
        "the mounts": {"data_dir", "model_store"},
        "the dashboard's own image": {"dashboard_host", "dashboard_port"},
    }
    left_out = {f"LIGHTBOX_{name.upper()}" for names in decided_by.values() for name in names}
    settings = {f"LIGHTBOX_{name.upper()}" for name in Settings.model_fields}
    given = SERVICES["api"]["environment"]

    assert given.keys() == settings - left_out
    assert all(value == f"${{{name}:-}}" for name, value in given.items())


def test_what_is_left_unset_leaves_the_settings_at_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Settings()
    for name, value in SERVICES["api"]["environment"].items():
        monkeypatch.setenv(name, with_defaults(value))

    assert Settings() == defaults


def test_the_example_names_every_variable_of_the_files_but_the_rarer_settings_and_no_other() -> None:
    named = set(re.findall(r"^#([A-Z0-9_]+)=", EXAMPLE.read_text(), re.MULTILINE))
    used = {name for path in (COMPOSE, GPU, SWARM) for name in variables_of(path)}
    settings = SERVICES["api"]["environment"].keys()

    assert used - settings <= named <= used
    assert "README" in EXAMPLE.read_text()


def test_the_example_shows_the_defaults_of_what_it_does_not_change() -> None:
    shown: dict[str, set[str]] = {}
    for name, value in re.findall(r"^#([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE):
        shown.setdefault(name, set()).add(value)
    defaults = {name: value for name, value in variables_of(COMPOSE).items() if value and name != "LIGHTBOX_MODELS_DIR"}

    assert {name for name, value in defaults.items() if value not in shown[name]} <= {"LIGHTBOX_URL"}


def test_every_variable_may_be_missing() -> None:
    # Compose 1.29 fills in all services, selected or not, and knows no other form than this one.
    assert all(default is not None for path in (COMPOSE, GPU, SWARM) for default in variables_of(path).values())
    assert not re.search(r"\$\{[^}]*(:\?|:\+|\?)", COMPOSE.read_text())
