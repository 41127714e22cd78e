"""The photographs of a comparison, and the request bodies that each server wants them in."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import PIL

from bench.models import CACHE
from bench.photographs import make_large_jpegs, write_photographs
from bench.records import LARGE, SMALL
from bench.wire import Wire

SMALL_COUNT, LARGE_COUNT = 256, 12
_LARGE_SHORT_SIDE_PX = (2800, 3000)
"""With sides of up to 3:2, 8 to 13.5 megapixels: 12 as a rule."""
_FOLDER = CACHE / "bench-photographs"


@dataclass(frozen=True, slots=True)
class Bodies:
    """The requests of one server: in memory for one load generator, as files of a folder for the other."""

    encoded: Sequence[bytes]
    folder: Path


def photograph_folders() -> Mapping[str, Path]:
    """Make the photographs that are not there yet, and return the folder of each kind."""
    folder = _FOLDER / _digest_recipe()
    folders = {SMALL: folder / SMALL, LARGE: folder / LARGE}
    if _count(folders[SMALL]) < SMALL_COUNT:
        write_photographs(folders[SMALL], SMALL_COUNT)
    if _count(folders[LARGE]) < LARGE_COUNT:
        folders[LARGE].mkdir(parents=True, exist_ok=True)
        for number, encoded in enumerate(make_large_jpegs(LARGE_COUNT, short_side_px=_LARGE_SHORT_SIDE_PX)):
            (folders[LARGE] / f"{number:03d}.jpg").write_bytes(encoded)
    return folders


def write_bodies(photographs: Path, wire: Wire, folder: Path) -> Bodies:
    """Encode every photograph as a server wants it."""
    folder.mkdir(parents=True)
    encoded = [wire.encode(path.read_bytes()) for path in sorted(photographs.iterdir())]
    for number, body in enumerate(encoded):
        (folder / f"{number:03d}").write_bytes(body)
    return Bodies(encoded, folder)


def _digest_recipe() -> str:
    """Tell photographs apart that were made in another way, as older ones that are still there."""
    recipe = f"{SMALL_COUNT} {LARGE_COUNT} {_LARGE_SHORT_SIDE_PX} Pillow {PIL.__version__}".encode()
    return hashlib.sha256(recipe + Path(__file__).with_name("photographs.py").read_bytes()).hexdigest()[:12]


def _count(folder: Path) -> int:
    return len(list(folder.iterdir())) if folder.is_dir() else 0
