"""Turns the output of `docker-compose config` into a file for `docker stack deploy`; used by deploy/swarm/deploy.

A Swarm refuses some of what Compose writes, and copies files to its nodes itself. Needs PyYAML where Compose prints
YAML.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_SCHEMA = "3.9"
_DEPLOY = Path(__file__).resolve().parents[1]
_LIMITS = {"cpus": "cpus", "mem_limit": "memory", "pids_limit": "pids"}
"""A container's limits by Compose's name and by a Swarm's."""
_NOT_OF_A_SWARM = ("depends_on", "profiles", "restart", "security_opt", "ports", "volumes", *_LIMITS)
"""Keys that a Swarm refuses or ignores, or that are rendered below. A Swarm restarts by its own rules."""
_ALWAYS = "scale"
"""The profile of nginx, without which nobody reaches the stack."""
_CHOSEN = "lightbox.profiles"
"""The label in which deploy/swarm/swarm.yml puts COMPOSE_PROFILES."""

Document = Mapping[str, Any]


class DeployError(Exception):
    """Nothing was deployed; the message says what to do instead."""


def choose_profiles(document: Document, named: Collection[str]) -> set[str]:
    """Return the profiles to deploy: `scale`, those of COMPOSE_PROFILES, and those named.

    Raises DeployError if no service has a named profile; Compose ignores an unknown one in COMPOSE_PROFILES.
    """
    known = {profile for service in document["services"].values() for profile in service.get("profiles", ())}
    if unknown := set(named) - known:
        raise DeployError(f"No service has the profile {_join(unknown)}. There are: {_join(known)}.")
    labels = map(_labels_of, document["services"].values())
    found = {profile.strip() for its in labels for profile in its.get(_CHOSEN, "").split(",")}
    return (found | {_ALWAYS, *named}) - {""}


def check_running(document: Document, profiles: Collection[str], running: Collection[str]) -> None:
    """Raise DeployError if a running service would be removed because its profile is not chosen.

    A running service that is not in the document may be removed: a new release is without it.
    """
    services = {name: service.get("profiles") or () for name, service in document["services"].items()}
    left_out = {name for name, its in services.items() if its and not set(its) & set(profiles)} & set(running)
    if left_out:
        missing = {profile for name in left_out for profile in services[name]}
        raise DeployError(
            f"What runs has {_join(left_out)}, of the profile {_join(missing)}, which is not named now. Nothing was "
            "changed. To keep it, name the profile, best in COMPOSE_PROFILES in .env; to remove it, add --prune, which "
            "leaves its volumes."
        )


def render(document: Document, profiles: Collection[str], *, shipped: Path = _DEPLOY) -> dict[str, Any]:
    """Return a Compose document as a stack: the services of these profiles and those without a profile.

    Files mounted from the folder `shipped` become configs of the Swarm, named by their content, since a config cannot
    be changed. Of the published ports those with `mode: host` are kept.
    """
    configs: dict[str, Any] = {}
    services = {
        name: _render_service(name, service, configs, shipped)
        for name, service in document["services"].items()
        if not service.get("profiles") or set(service["profiles"]) & set(profiles)
    }
    return {
        "version": _SCHEMA,
        "services": services,
        "configs": configs,
        "networks": {name: _without(network or {}, "name", "ipam") for name, network in document["networks"].items()},
        "volumes": {name: _without(volume or {}, "name") for name, volume in document["volumes"].items()},
    }


def _render_service(name: str, service: Document, configs: dict[str, Any], shipped: Path) -> dict[str, Any]:
    stack = {key: value for key, value in service.items() if key not in _NOT_OF_A_SWARM and value is not None}
    stack["deploy"] = _render_deploy(service)
    stack["ports"] = [
        {"target": port["target"], "published": int(port["published"]), "protocol": "tcp", "mode": "host"}
        for port in service.get("ports", ())
        if isinstance(port, dict) and port.get("mode") == "host"
    ]
    stack["volumes"], stack["configs"] = [], []
    for mount in map(_parse_mount, service.get("volumes", ())):
        source = Path(mount.get("source", "")).resolve()
        if mount["type"] == "bind" and source.is_relative_to(shipped.resolve()):
            for file, target in _files_of(source, mount["target"]):
                digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
                configs[f"{name}-{digest}"] = {"file": str(file)}
                stack["configs"].append({"source": f"{name}-{digest}", "target": target})
        else:
            stack["volumes"].append(mount)
    return stack


def _render_deploy(service: Document) -> dict[str, Any]:
    deploy = dict(service.get("deploy", {}))
    limits = deploy.get("resources", {}).get("limits", {})
    limits = limits | {name: service[key] for key, name in _LIMITS.items() if key in service}
    if "cpus" in limits:
        limits["cpus"] = str(limits["cpus"])
    return deploy | {"labels": _without(_labels_of(service), _CHOSEN), "resources": {"limits": limits}}


def _labels_of(service: Document) -> dict[str, str]:
    """Return the service's labels; Compose 1.29 does not turn a list into a mapping."""
    labels = service.get("deploy", {}).get("labels", {})
    return dict(labels) if isinstance(labels, Mapping) else dict(label.split("=", 1) for label in labels)


def _parse_mount(mount: str | Document) -> dict[str, Any]:
    """Return a mount in its long form; Compose 1.29 does not expand the short one."""
    if isinstance(mount, str):
        source, target, mode = [*mount.split(":"), "rw"][:3]
        mount = {"type": "bind" if source.startswith("/") else "volume", "source": source, "target": target}
        mount["read_only"] = "ro" in mode.split(",")
    long = _without(mount, "bind", "volume") | {"read_only": mount.get("read_only", False)}
    if long["type"] == "tmpfs":
        long["tmpfs"] = {"size": int(long["tmpfs"]["size"])}
    return long


def _files_of(source: Path, target: str) -> Iterator[tuple[Path, str]]:
    if source.is_file():
        yield source, target
        return
    for file in sorted(source.rglob("*")):
        if file.is_file():
            yield file, f"{target}/{file.relative_to(source)}"


def _without(mapping: Document, *keys: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


def _join(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def _read(text: str) -> Document:
    document: Document
    if text.lstrip().startswith("{"):
        document = json.loads(text)
        return document
    try:
        import yaml  # noqa: PLC0415 - Compose v2 prints JSON on request; then PyYAML need not be installed
    except ImportError as error:
        raise DeployError(
            f"docker-compose 1.29 prints YAML, and {sys.executable} has no PyYAML to read it with. Install that "
            "(Debian: python3-yaml), or Compose v2, which needs none."
        ) from error
    document = yaml.safe_load(text)
    return document


def describe_ports(stack: Document) -> str:
    """Return a line about the open ports for the operator; empty if there are none."""
    ports = [str(port["published"]) for service in stack["services"].values() for port in service["ports"]]
    if not ports:
        return ""
    return (
        f"A Swarm publishes on every address of the node: {', '.join(ports)}. LIGHTBOX_BIND has no effect here, and "
        "Lightbox has no log-in; the firewall decides who reaches it."
    )


def main(arguments: Sequence[str]) -> None:
    """Read the document on standard input and print the stack; exit with one line if that is refused."""
    parser = argparse.ArgumentParser(prog="deploy/swarm/deploy", allow_abbrev=False, add_help=False)
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", help="to be added to COMPOSE_PROFILES")
    parser.add_argument("--prune", action="store_true", help="remove what runs of a profile that is not named now")
    parser.add_argument("--stack", default="lightbox", help=argparse.SUPPRESS)
    parser.add_argument("--running", default="", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    try:
        document = _read(sys.stdin.read())
        profiles = choose_profiles(document, given.profiles)
        if not given.prune:
            prefix = f"{given.stack}_"
            check_running(document, profiles, {name.removeprefix(prefix) for name in given.running.split()})
    except DeployError as error:
        sys.exit(f"{parser.prog}: {error}")
    stack = render(document, profiles)
    if line := describe_ports(stack):
        print(line, file=sys.stderr)
    json.dump(stack, sys.stdout, indent=2)


if __name__ == "__main__":
    main(sys.argv[1:])
