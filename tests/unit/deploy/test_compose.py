"""The Compose files agree with the settings, with each other, and with the example of their variables."""

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

FILES = (COMPOSE, GPU, SWARM)
SERVICES = services_of(COMPOSE)
BOUNDS = {"security_opt", "cpus", "mem_limit", "pids_limit", "logging", "restart", "stop_grace_period"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_bounded_and_local(name: str) -> None:
    service = SERVICES[name]

    assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
    assert service.keys() >= BOUNDS
    assert all(with_defaults(port).startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_is_in_every_profile_of_it(name: str) -> None:
    # A service that the chosen profile leaves out would keep this one from starting.
    profiles = set(SERVICES[name].get("profiles", ()))

    assert all(set(SERVICES[need].get("profiles", ())) <= profiles for need in SERVICES[name].get("depends_on", {}))


@pytest.mark.parametrize("extra", [(), (GPU,), (SWARM,)], ids=["alone", "with a GPU", "on a Swarm"])
@every_compose
def test_compose_accepts_the_files(command: tuple[str, ...], extra: tuple[Path, ...]) -> None:
    run_compose(command, *(argument for path in (COMPOSE, *extra) for argument in ("-f", str(path))), "config")


def test_the_service_has_the_time_that_a_drain_takes() -> None:
    assert int(SERVICES["api"]["stop_grace_period"][:-1]) > Settings().stop_timeout_s


def test_every_setting_that_the_container_leaves_open_is_a_variable() -> None:
    decided = {"host", "port", "heartbeat_dir", "data_dir", "model_store", "dashboard_host", "dashboard_port"}
    given = SERVICES["api"]["environment"]

    assert given.keys() == {f"LIGHTBOX_{name.upper()}" for name in Settings.model_fields.keys() - decided}
    # Empty where it is not set, which leaves the setting at its default.
    assert all(value == f"${{{name}:-}}" for name, value in given.items())


def test_every_variable_of_a_container_is_a_setting() -> None:
    known = {f"LIGHTBOX_{name.upper()}" for settings in (Settings, DashboardSettings) for name in settings.model_fields}
    services = [services_of(path).get(name, {}) for path in FILES for name in ("api", "dashboard")]

    assert {key for service in services for key in service.get("environment", {})} <= known | {"NO_PROXY", "no_proxy"}


def test_containers_reach_each_other_without_dockers_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    asked = {"dashboard": ["http://api:3000", "http://nginx:8080"], "grafana": ["http://prometheus:9090"]}

    for name, urls in asked.items():
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(variable, with_defaults(SERVICES[name]["environment"][variable]))
        assert [find_proxy(url) for url in urls] == [None] * len(urls)
    assert find_proxy("http://elsewhere.example") == "http://proxy.example:3128"


def test_the_example_names_all_variables_and_their_defaults() -> None:
    shown: dict[str, set[str]] = {}
    for name, value in re.findall(r"^#([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE):
        shown.setdefault(name, set()).add(value)
    used = {name for path in FILES for name in variables_of(path)}
    defaults = {name: value for name, value in variables_of(COMPOSE).items() if value and name != "LIGHTBOX_MODELS_DIR"}

    assert used - SERVICES["api"]["environment"].keys() <= shown.keys() <= used
    assert {name for name, value in defaults.items() if value not in shown[name]} <= {"LIGHTBOX_URL"}


def test_every_variable_may_be_missing() -> None:
    # Compose 1.29 fills in all services, selected or not, and knows no other form than this one.
    assert all(default is not None for path in FILES for default in variables_of(path).values())
    assert not re.search(r"\$\{[^}]*(:\?|:\+|\?)", COMPOSE.read_text())


def test_the_files_hold_no_secret() -> None:
    named = re.compile(r"password|secret|token|_key$", re.IGNORECASE)
    given = [service.get("environment", {}).items() for path in FILES for service in services_of(path).values()]
    values = {key: value for variables in given for key, value in variables if named.search(key)}

    assert values == {"POSTGRES_PASSWORD": "${POSTGRES_PASSWORD:-}"}
    assert not re.search(r"://\w+:\w+@", COMPOSE.read_text())
