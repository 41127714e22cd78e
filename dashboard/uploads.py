"""What a visitor handed over, as values: named bytes, within the limits on count and size."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Picked:
    """An encoded image as it was handed over. `digest` is the SHA-256 of `encoded`, in hex."""

    name: str
    encoded: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The images on the page, and the names of files that were skipped since a limit was reached."""

    images: tuple[Picked, ...] = ()
    skipped: tuple[str, ...] = ()


def pick(name: str, encoded: bytes) -> Picked:
    """Name some bytes and digest them."""
    return Picked(name=name, encoded=encoded, digest=hashlib.sha256(encoded).hexdigest())


def select(files: Iterable[tuple[str, bytes]], *, max_files: int, max_total_bytes: int) -> Selection:
    """Take files in order, a repeated one once, and skip those that would exceed `max_files` or `max_total_bytes`."""
    images: dict[str, Picked] = {}
    skipped: list[str] = []
    total_bytes = 0
    for name, encoded in files:
        image = pick(name, encoded)
        if image.digest in images:
            continue
        if len(images) == max_files or total_bytes + len(encoded) > max_total_bytes:
            skipped.append(name)
            continue
        images[image.digest] = image
        total_bytes += len(encoded)
    return Selection(images=tuple(images.values()), skipped=tuple(skipped))
