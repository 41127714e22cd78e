"""What a measurement asks of a Docker engine, by the `docker` command that a person would type."""

import http.client
import json
import os
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

SERVICE = os.environ.get("LIGHTBOX_IMAGE", "lightbox:latest")
DASHBOARD = os.environ.get("LIGHTBOX_DASHBOARD_IMAGE", "lightbox-dashboard:latest")
GPU = os.environ.get("LIGHTBOX_GPU_IMAGE", "lightbox-gpu:latest")
"""The images that are measured, by the variables with which Compose and the tests choose theirs."""
BASE, REGISTRY = "python:3.11-slim", "registry:2"
ONE_MODEL = ("--env", "LIGHTBOX_MODELS=efficientnet_lite0")
HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
"""As an operator should run both images."""
POLL_S = 0.02
_POLL_TIMEOUT_S = 2.0


class EngineError(Exception):
    """A `docker` command failed or took too long; the message is the command and what it said."""


def docker(*arguments: str, timeout_s: float = 120.0) -> str:
    """Run one command and return what it printed.

    Raises:
        EngineError: It failed, or took too long.
    """
    command = ["docker", *arguments]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s)  # noqa: S603 - ours
    except subprocess.CalledProcessError as error:
        raise EngineError(f"{' '.join(command)}: {error.stderr.strip() or error.stdout.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{' '.join(command)}: not done within {timeout_s:g} s") from error
    return done.stdout.strip()


def has_image(image: str) -> bool:
    """Tell whether the engine holds an image."""
    return bool(docker("image", "ls", "--quiet", image))


def image_bytes(image: str) -> int:
    """Return what an image takes, its base included and nothing compressed."""
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


def image_layers(image: str) -> list[str]:
    """Return the digests of an image's layers, the lowest first."""
    return list(json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image)))


def image_labels(image: str) -> dict[str, str]:
    """Return an image's labels."""
    return json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image)) or {}


@contextmanager
def container(image: str, *options: str, timeout_s: float = 120.0) -> Iterator[str]:
    """Run a container until the end of the block; yields its name, and leaves neither it nor its volumes."""
    name = f"lightbox-bench-{uuid.uuid4().hex[:8]}"
    try:
        docker("run", "--detach", "--name", name, *options, image, timeout_s=timeout_s)
        yield name
    finally:
        _discard("rm", "--force", "--volumes", name)


def discard_image(image: str) -> None:
    """Remove an image; one that others are made from stays, and one that is not there is no fault."""
    _discard("image", "rm", image)


def host_address(name: str) -> str:
    """Return this host's address on the network of a container."""
    return docker("inspect", "--format", "{{.NetworkSettings.Gateway}}", name)


def wait_ready(name: str, port: int, path: str, timeout_s: float = 120.0) -> None:
    """Ask every 20 ms until a container answers 200.

    Raises:
        EngineError: It ended instead, or did not within the time.
    """
    give_up_s = time.monotonic() + timeout_s
    tick = threading.Event()
    next_look_s = time.monotonic() + 1
    while not _answers(port, path):
        if time.monotonic() > give_up_s:
            raise EngineError(f"{name} did not answer {path} within {timeout_s:g} s: {_log(name)}")
        if time.monotonic() > next_look_s:
            if docker("inspect", "--format", "{{.State.Running}}", name) != "true":
                raise EngineError(f"{name} ended as it started: {_log(name)}")
            next_look_s = time.monotonic() + 5
        tick.wait(POLL_S)


def list_made_images(build_output: str) -> list[str]:
    """Return the ids of the images that the classic builder made for a build's steps, the newest first.

    Those that it took from its cache or from an image's name are not among them: they are others' too.
    """
    # BentoML puts its log's level before each line.
    output = re.sub(r"^INFO: ", "", build_output, flags=re.MULTILINE)
    steps = re.split(r"^Step \d+/\d+ : ", output, flags=re.MULTILINE)[1:]
    made = []
    for step in steps:
        if step.startswith("FROM ") or "---> Using cache" in step:
            continue
        made += re.findall(r"^ ---> ([0-9a-f]{12})$", step, flags=re.MULTILINE)[-1:]
    return made[::-1]


def new_layers_bytes(history_bytes: Sequence[int], new_layers: int) -> int:
    """Return what the topmost layers take; `history_bytes` has every instruction's bytes, the newest first."""
    # An instruction of no size as a rule makes no layer.
    return sum([size for size in history_bytes if size][:new_layers])


def read_history_bytes(image: str) -> list[int]:
    """Return how many bytes each instruction of an image added, the newest first."""
    return [int(size) for size in docker("history", "--human=false", "--format", "{{.Size}}", image).splitlines()]


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_POLL_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False  # not listening yet
    finally:
        connection.close()


def _discard(*arguments: str) -> None:
    command = ["docker", *arguments]
    subprocess.run(command, check=False, capture_output=True, timeout=300)  # noqa: S603 - ours


def _log(name: str) -> str:
    done = subprocess.run(  # noqa: S603 - ours
        ["docker", "logs", "--tail", "5", name],  # noqa: S607 - the docker on the path
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return (done.stdout + done.stderr).strip()
