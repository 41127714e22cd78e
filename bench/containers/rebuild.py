"""What a change of one line of code costs: the time to an image, and the bytes that a push of it sends."""

import http.client
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.containers.builds import Built, build_image, copy_checkout
from bench.containers.engine import (
    REGISTRY,
    container,
    discard_image,
    docker,
    image_layers,
    new_layers_bytes,
    read_history_bytes,
    wait_ready,
)
from bench.containers.result import Rebuild
from bench.running import find_free_port

_CHANGED = Path("bento_service") / "service.py"
_BEFORE, _AFTER = "lightbox-bench:before", "lightbox-bench:after"
_PUSH_TIMEOUT_S = 600.0
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def measure_rebuild(rounds: int) -> Rebuild:
    """Build the service's image of a copy of the checkout, and again after each of `rounds` changes of its code.

    Raises:
        BuildError: A build failed.
        EngineError: The registry did not come up, or a push failed.
    """
    kept: list[Built] = []
    with TemporaryDirectory(prefix="lightbox-bench-") as folder:
        checkout = copy_checkout(Path(folder))
        try:
            kept.append(build_image(checkout, _BEFORE, timeout_s=1800))
            timed = [_rebuild(checkout, number, kept) for number in range(rounds)]
            before_bytes, pushed_bytes = _push_both()
            return Rebuild(
                build_s=[built.build_s for built in timed],
                containerize_s=[built.containerize_s for built in timed],
                new_layers_bytes=_new_layers_bytes(),
                pushed_bytes=pushed_bytes,
                first_push_bytes=before_bytes,
            )
        finally:
            for built in kept:
                built.discard()


def _rebuild(checkout: Path, number: int, kept: list[Built]) -> Built:
    with (checkout / _CHANGED).open("a") as code:
        code.write(f"\nCHANGE = {number}\n")
    built = build_image(checkout, _AFTER)
    kept.insert(0, built)
    return built


def _new_layers_bytes() -> int:
    before, after = image_layers(_BEFORE), image_layers(_AFTER)
    kept = sum(1 for ours, theirs in zip(before, after, strict=False) if ours == theirs)
    return new_layers_bytes(read_history_bytes(_AFTER), len(after) - kept)


def _push_both() -> tuple[int, int]:
    """Return what a registry holds for the image before the change, and what the one after it adds to that."""
    port = find_free_port()
    with container(REGISTRY, "--publish", f"127.0.0.1:{port}:5000") as name:
        wait_ready(name, port, "/v2/")
        before, after = (_push(image, port) for image in (_BEFORE, _AFTER))
    return sum(before.values()), added_bytes(before, after)


def _push(image: str, port: int) -> dict[str, int]:
    tag = image.rpartition(":")[2]
    remote = f"127.0.0.1:{port}/lightbox:{tag}"
    docker("tag", image, remote)
    try:
        docker("push", remote, timeout_s=_PUSH_TIMEOUT_S)
    finally:
        discard_image(remote)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", f"/v2/lightbox/manifests/{tag}", headers={"Accept": _MANIFEST})
        body = connection.getresponse().read()
    finally:
        connection.close()
    return read_blobs(body)


def read_blobs(manifest: bytes) -> dict[str, int]:
    """Return the bytes of everything that a registry holds for an image, by digest; the manifest is under its tag."""
    described: dict[str, Any] = json.loads(manifest)
    blobs = {blob["digest"]: int(blob["size"]) for blob in (described["config"], *described["layers"])}
    return {**blobs, "manifest": len(manifest)}


def added_bytes(before: dict[str, int], after: dict[str, int]) -> int:
    """Return what a push sends of an image, given what is there of another."""
    return sum(size for digest, size in after.items() if digest == "manifest" or digest not in before)
