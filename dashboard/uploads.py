"""The images that a visitor uploads: named bytes, within the limits on count and size."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Picked:
    """An encoded image; `digest` is the SHA-256 of `encoded`, in hex."""

    name: str
    encoded: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The images on the page, and the names of files that were skipped because of a limit."""

    images: tuple[Picked, ...] = ()
    skipped: tuple[str, ...] = ()


def pick(name: str, encoded: bytes) -> Picked:
    """Return an image with its digest."""
    return Picked(name=name, encoded=encoded, digest=hashlib.sha256(encoded).hexdigest())


def select(files: Iterable[tuple[str, bytes]], *, max_files: int, max_total_bytes: int) -> Selection:
    """Take files in order without duplicates, and skip those that would exceed `max_files` or `max_total_bytes`."""
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
