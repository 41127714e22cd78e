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
"""The output of Compose v2.40.3 with COMPOSE_PROFILES=full, cut to three services and to less of each:

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
    """Compose's output for one service."""
    return {
        "name": "lightbox",
        "services": {"api": copy.deepcopy(SERVICE) | changes},
        "networks": {"front": {"name": "lightbox_front", "ipam": {}}, "data": {"internal": True}},
        "volumes": {"journal": {"name": "lightbox_journal"}, "models": None},
    }


def test_a_stack_has_only_what_a_swarm_accepts() -> None:
    stack = render(document(), [])

    assert stack == {
        "version": "3.9",
        "services": {
            "api": {
                "image": "lightbox:latest",
                "cap_drop": ["ALL"],
                "deploy": {
                    "replicas": 2,
                    "labels": {},
                    "resources": {"limits": {"cpus": "0.5", "memory": "1g", "pids": 64}},
                },
                "ports": [{"target": 8080, "published": 3000, "protocol": "tcp", "mode": "host"}],
                "networks": {"front": None},
                "volumes": [],
                "configs": [],
            }
        },
        "configs": {},
        "networks": {"front": {}, "data": {"internal": True}},
        "volumes": {"journal": {}, "models": {}},
    }


def test_the_operator_reads_which_ports_are_open_to_everyone() -> None:
    line = describe_ports(render(document(), []))

    assert "on every address of the node: 3000." in line
    assert "LIGHTBOX_BIND has no effect" in line
    assert describe_ports(render(document(ports=[]), [])) == ""


@pytest.mark.parametrize(
    ("labels", "named", "chosen"),
    [
        ({"lightbox.profiles": ""}, [], {"scale"}),
        ({"lightbox.profiles": " scale, full,"}, [], {"scale", "full"}),
        ({"lightbox.profiles": "scale"}, ["full"], {"scale", "full"}),
        ({"lightbox.profiles": "of-nobody"}, [], {"scale", "of-nobody"}),
        (["lightbox.profiles=full", "team=vision"], [], {"scale", "full"}),
    ],
)
def test_profiles_come_from_compose_and_from_the_command_line(labels: Any, named: list[str], chosen: set[str]) -> None:
    printed = document(deploy={"labels": labels}, profiles=["full"])

    assert choose_profiles(printed, named) == chosen
    if isinstance(labels, list):
        assert render(printed, chosen)["services"]["api"]["deploy"]["labels"] == {"team": "vision"}


@every_compose
def test_compose_hands_on_the_profiles_of_the_env_file(command: tuple[str, ...], tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("COMPOSE_PROFILES='full' # and nginx\n")

    printed = run_compose(command, "--env-file", str(env_file), "-f", str(COMPOSE), "-f", str(SWARM), "config")

    assert choose_profiles(yaml.safe_load(printed), []) == {"scale", "full"}


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(DeployError, match=r"No service has the profile ful\. There are: full"):
        choose_profiles(document(profiles=["full"]), ["ful"])


@pytest.mark.parametrize(
    ("profiles", "chosen", "running"),
    [
        pytest.param(["full"], {"scale", "full"}, {"api"}, id="its profile is named"),
        pytest.param(["full"], {"scale"}, set(), id="it does not run"),
        pytest.param([], {"scale"}, {"api", "of-an-old-release"}, id="it has no profile, or is of an old release"),
    ],
)
def test_a_running_service_is_not_in_the_way_where(profiles: list[str], chosen: set[str], running: set[str]) -> None:
    check_running(document(profiles=profiles), chosen, running)


def test_the_output_of_compose_v2_becomes_a_stack() -> None:
    recorded = json.loads(RECORDED.read_text().replace("/srv/lightbox", str(ROOT)))

    stack = render(recorded, choose_profiles(recorded, []))
    api, nginx, postgres = (stack["services"][name] for name in ("api", "nginx", "postgres"))

    assert api["deploy"]["resources"] == {"limits": {"cpus": "2", "memory": "4294967296", "pids": 1024}}
    assert api["environment"] == {"LIGHTBOX_MODELS": ""}
    assert api["ports"] == []
    assert [(port["target"], port["published"]) for port in nginx["ports"]] == [(8080, 3000), (8081, 8501)]
    assert "/etc/lightbox/nginx.conf" in [config["target"] for config in nginx["configs"]]
    assert nginx["volumes"] == [{"type": "tmpfs", "target": "/tmp", "tmpfs": {"size": 1610612736}, "read_only": False}]  # noqa: S108 - the container's
    assert postgres["volumes"][0]["source"] == "postgres"
    assert [key for service in stack["services"].values() for key, value in service.items() if value is None] == []


def test_services_with_volumes_stay_on_the_data_node() -> None:
    volumes = {
        name: {str(mount).partition(":")[0] for mount in service.get("volumes", ())}
        for name, service in services_of(COMPOSE).items()
    }
    placed = {
        name
        for name, service in services_of(SWARM).items()
        if service["deploy"].get("placement") == {"constraints": ["node.labels.lightbox == data"]}
    }

    assert placed == {name for name, mounted in volumes.items() if mounted & {"postgres", "prometheus", "grafana"}}


@pytest.mark.parametrize(
    "mount",
    [
        pytest.param("journal:/data:rw", id="volume of compose 1.29"),
        pytest.param({"type": "volume", "source": "journal", "target": "/data", "volume": {}}, id="volume of v2"),
        pytest.param({"type": "bind", "source": "/srv", "target": "/data", "bind": {}}, id="folder of the operator"),
    ],
)
def test_a_mount_from_outside_the_repository_stays(mount: Any) -> None:
    kind, source = ("volume", "journal") if isinstance(mount, str) else (mount["type"], mount["source"])

    assert render(document(volumes=[mount]), [])["services"]["api"]["volumes"] == [
        {"type": kind, "source": source, "target": "/data", "read_only": False}
    ]


def test_a_mounted_folder_of_the_repository_becomes_configs(tmp_path: Path) -> None:
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
