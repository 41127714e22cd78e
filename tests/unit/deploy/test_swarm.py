"""A Compose document becomes a stack of a Swarm."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.swarm.stack_file import DeployError, check_running, choose_profiles, describe_ports, render
from tests.unit.deploy.compose_files import COMPOSE, ROOT, SWARM, every_compose, run_compose, services_of

RECORDED = Path(__file__).parent / "recorded" / "compose-v2.json"
"""What Compose v2.40.3 printed with COMPOSE_PROFILES=full, cut to three services and to less of each:

docker compose -f docker-compose.yml -f deploy/swarm/swarm.yml --profile '*' config --format json
"""

SERVICE = {
    "image": "lightbox:latest",
    "cap_drop": ["ALL"],
    "depends_on": {"other": {"condition": "service_healthy"}},
    "restart": "unless-stopped",
    "security_opt": ["no-new-privileges:true"],
    "cpus": 0.5,
    "mem_limit": "1g",
    "pids_limit": 64,
    "command": None,
    "deploy": {"replicas": 2, "labels": {"lightbox.profiles": ""}},
    "ports": ["127.0.0.1:3000:3000/tcp", {"target": 8080, "published": "3000", "mode": "host", "host_ip": "::"}],
    "networks": {"front": None},
}


def document(**changes: Any) -> dict[str, Any]:
    """What Compose prints of one service."""
    return {
        "name": "lightbox",
        "services": {"api": copy.deepcopy(SERVICE) | changes},
        "networks": {"front": {"name": "lightbox_front", "ipam": {}}, "data": {"internal": True}},
        "volumes": {"journal": {"name": "lightbox_journal"}, "models": None},
    }


def test_what_a_swarm_refuses_or_ignores_is_left_out() -> None:
    stack = render(document(), [])

    assert stack.keys() == {"version", "services", "configs", "networks", "volumes"}
    assert stack["services"]["api"].keys() == {
        *("image", "cap_drop", "deploy", "networks", "ports", "volumes", "configs")
    }
    assert stack["networks"] == {"front": {}, "data": {"internal": True}}
    assert stack["volumes"] == {"journal": {}, "models": {}}


def test_limits_are_written_as_a_swarm_reads_them() -> None:
    deploy = render(document(), [])["services"]["api"]["deploy"]

    assert deploy["resources"] == {"limits": {"cpus": "0.5", "memory": "1g", "pids": 64}}
    assert deploy["replicas"] == 2


def test_only_ports_of_the_node_are_published() -> None:
    ports = render(document(), [])["services"]["api"]["ports"]

    assert ports == [{"target": 8080, "published": 3000, "protocol": "tcp", "mode": "host"}]


def test_an_operator_is_told_what_a_swarm_opens_to_everyone() -> None:
    line = describe_ports(render(document(), []))

    assert "on every address of the node: 3000." in line
    assert "LIGHTBOX_BIND has no effect" in line
    assert describe_ports(render(document(ports=[]), [])) == ""


@pytest.mark.parametrize(
    ("variable", "named", "chosen"),
    [
        ("", [], {"scale"}),
        ("full", [], {"scale", "full"}),
        (" scale, full,", [], {"scale", "full"}),
        ("", ["full"], {"scale", "full"}),
        ("scale", ["full"], {"scale", "full"}),
        ("of-nobody", [], {"scale", "of-nobody"}),
    ],
)
def test_the_profiles_are_those_of_compose_and_those_that_are_named(
    variable: str, named: list[str], chosen: set[str]
) -> None:
    printed = document(deploy={"labels": {"lightbox.profiles": variable}}, profiles=["full"])

    assert choose_profiles(printed, named) == chosen


@every_compose
def test_compose_hands_on_the_profiles_that_it_finds_in_the_operators_settings(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("COMPOSE_PROFILES='full' # and nginx\n")

    printed = run_compose(command, "--env-file", str(env_file), "-f", str(COMPOSE), "-f", str(SWARM), "config")

    assert choose_profiles(yaml.safe_load(printed), []) == {"scale", "full"}


def test_a_label_of_the_operators_own_may_be_in_a_list_and_stays() -> None:
    listed = document(deploy={"labels": ["lightbox.profiles=full", "team=vision"]})

    assert choose_profiles(listed, []) == {"scale", "full"}
    assert render(listed, [])["services"]["api"]["deploy"]["labels"] == {"team": "vision"}


def test_a_profile_that_is_named_and_that_no_service_has_is_refused() -> None:
    with pytest.raises(DeployError, match=r"No service has the profile ful\. There are: full"):
        choose_profiles(document(profiles=["full"]), ["ful"])


def test_what_runs_is_not_removed_because_its_profile_is_not_named() -> None:
    with pytest.raises(DeployError, match=r"What runs has api, of the profile full, which is not named now.*--prune"):
        check_running(document(profiles=["full"]), {"scale"}, {"api"})


@pytest.mark.parametrize(
    ("profiles", "chosen", "running"),
    [
        (["full"], {"scale", "full"}, {"api"}),
        (["full"], {"scale"}, set()),
        ([], {"scale"}, {"api", "of-an-old-release"}),
    ],
    ids=["its profile is named", "it does not run", "it has no profile, or the release has it no longer"],
)
def test_nothing_else_is_refused(profiles: list[str], chosen: set[str], running: set[str]) -> None:
    check_running(document(profiles=profiles), chosen, running)


def test_what_compose_v2_prints_becomes_a_stack() -> None:
    recorded = json.loads(RECORDED.read_text().replace("/srv/lightbox", str(ROOT)))

    stack = render(recorded, choose_profiles(recorded, []))
    api, nginx, postgres = (stack["services"][name] for name in ("api", "nginx", "postgres"))

    assert api["deploy"]["resources"] == {"limits": {"cpus": "2", "memory": "4294967296", "pids": 1024}}
    assert api["environment"] == {"LIGHTBOX_MODELS": ""}
    assert api["ports"] == []
    assert nginx["ports"] == [
        {"target": 8080, "published": 3000, "protocol": "tcp", "mode": "host"},
        {"target": 8081, "published": 8501, "protocol": "tcp", "mode": "host"},
    ]
    assert "/etc/lightbox/nginx.conf" in [config["target"] for config in nginx["configs"]]
    assert nginx["volumes"] == [{"type": "tmpfs", "target": "/tmp", "tmpfs": {"size": 1610612736}, "read_only": False}]  # noqa: S108 - the container's
    assert postgres["deploy"]["placement"] == {"constraints": ["node.labels.lightbox == data"]}
    assert postgres["volumes"][0]["source"] == "postgres"
    assert stack["networks"] == {"data": {"internal": True}}
    assert [key for service in stack["services"].values() for key, value in service.items() if value is None] == []


def test_what_has_a_volume_stays_on_the_node_that_was_chosen_for_it() -> None:
    stateful = {
        name
        for name, service in services_of(COMPOSE).items()
        if any(str(mount).partition(":")[0] in {"postgres", "prometheus", "grafana"} for mount in service["volumes"])
    }
    placed = {
        name
        for name, service in services_of(SWARM).items()
        if service["deploy"].get("placement") == {"constraints": ["node.labels.lightbox == data"]}
    }

    assert stateful == placed == {"postgres", "prometheus", "grafana"}


@pytest.mark.parametrize(
    ("profiles", "chosen", "is_there"), [([], [], True), (["full"], [], False), (["full"], ["scale", "full"], True)]
)
def test_services_of_other_profiles_are_left_out(profiles: list[str], chosen: list[str], is_there: bool) -> None:
    assert ("api" in render(document(profiles=profiles), chosen)["services"]) is is_there


@pytest.mark.parametrize(
    "mount",
    ["journal:/data:rw", {"type": "volume", "source": "journal", "target": "/data", "volume": {}}],
    ids=["compose 1.29", "compose v2"],
)
def test_a_volume_stays_a_volume(mount: object) -> None:
    stack = render(document(volumes=[mount]), [])

    assert stack["services"]["api"]["volumes"] == [
        {"type": "volume", "source": "journal", "target": "/data", "read_only": False}
    ]


def test_a_folder_of_the_repository_comes_to_the_nodes_as_configs(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yml").write_text("groups: []")
    (tmp_path / "main.yml").write_text("global: {}")

    stack = render(document(volumes=[f"{tmp_path}:/etc/prometheus:ro"]), [], shipped=tmp_path)

    mounted = {config["target"]: config["source"] for config in stack["services"]["api"]["configs"]}
    assert mounted.keys() == {"/etc/prometheus/main.yml", "/etc/prometheus/rules/a.yml"}
    assert stack["configs"][mounted["/etc/prometheus/main.yml"]] == {"file": str(tmp_path / "main.yml")}


def test_a_file_that_changes_becomes_another_config(tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    names = []
    for text in ("a", "b", "a"):
        file.write_text(text)
        names.append(list(render(document(volumes=[f"{file}:/etc/nginx.conf:ro"]), [], shipped=tmp_path)["configs"]))

    assert names[0] == names[2] != names[1]


def test_a_folder_of_the_operators_is_mounted_as_it_is(tmp_path: Path) -> None:
    mount = {"type": "bind", "source": str(tmp_path), "target": "/models", "bind": {"create_host_path": True}}

    stack = render(document(volumes=[mount]), [])

    assert stack["services"]["api"]["volumes"] == [
        {"type": "bind", "source": str(tmp_path), "target": "/models", "read_only": False}
    ]
