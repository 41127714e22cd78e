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
    """The images on the page, and a sentence where some were left out."""

    images: tuple[Picked, ...] = ()
    note: str = ""


def pick(name: str, encoded: bytes) -> Picked:
    """Name some bytes and digest them."""
    return Picked(name=name, encoded=encoded, digest=hashlib.sha256(encoded).hexdigest())


def select(files: Iterable[tuple[str, bytes]], *, max_files: int, max_total_bytes: int) -> Selection:
    """Take files in order, a repeated one once, until `max_files` or `max_total_bytes` is reached."""
    images: dict[str, Picked] = {}
    total_bytes = left_out = 0
    for name, encoded in files:
        image = pick(name, encoded)
        if image.digest in images:
            continue
        if len(images) == max_files or total_bytes + len(encoded) > max_total_bytes:
            left_out += 1
            continue
        images[image.digest] = image
        total_bytes += len(encoded)
    note = ""
    if left_out:
        note = (
            f"{left_out} left out: at most {max_files} images and {max_total_bytes // BYTES_PER_MB} MB at a time here. "
            "For more, use `lightbox classify FOLDER`."
        )
    return Selection(images=tuple(images.values()), note=note)
