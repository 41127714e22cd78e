"""Photographs with an object at a known place: what the pointing game asks about."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import skimage
from PIL import Image

from bench.photographs import encode_jpeg

_OBJECTS: Final = {
    # What it is: file, the rectangle to cut out, and the class that EfficientNet-Lite0 gives to the cutting.
    "cat": ("chelsea.png", (95, 20, 360, 285), 285),
    "espresso": ("coffee.png", (165, 10, 425, 310), 967),
    "moped": ("motorcycle_left.png", (150, 60, 620, 480), 665),
    "tripod": ("camera.png", (60, 40, 480, 512), 872),
    "missile": ("rocket.jpg", (250, 60, 400, 400), 657),
}
_TEXTURES = ("brick.png", "grass.png", "gravel.png")
_WIDTHS_PX, _HEIGHTS_PX = (480, 900), (360, 700)
_SHARES = (0.4, 0.7)
"""The object's long side, as a share of the canvas's short side."""
_SEEN = 0.875
"""The share of the short side that the model sees, in the middle; the object lies in there."""


@dataclass(frozen=True, slots=True)
class Composite:
    """A JPEG with an object of a class; `rectangle` is where, as left, top, right, bottom in pixels."""

    encoded: bytes
    name: str
    class_id: int
    rectangle: tuple[int, int, int, int]


def make_composites(count: int, *, seed: int = 0) -> Iterator[Composite]:
    """Paste objects of scikit-image's photographs onto plain and textured backgrounds; equal seeds make equal files."""
    random = np.random.default_rng(seed)
    for number in range(count):
        name = list(_OBJECTS)[number % len(_OBJECTS)]
        file, box, class_id = _OBJECTS[name]
        canvas = _make_background(random, is_plain=bool(number // len(_OBJECTS) % 2))
        short_px = min(canvas.size)
        cutting = _load(file).crop(box)
        cutting.thumbnail((short_px, short_px))
        scale = random.uniform(*_SHARES) * short_px / max(cutting.size)
        cutting = cutting.resize((round(cutting.width * scale), round(cutting.height * scale)))
        seen_px = int(_SEEN * short_px)
        left, top = (
            int((side - seen_px) / 2 + random.uniform(0, seen_px - own))
            for side, own in zip(canvas.size, cutting.size, strict=True)
        )
        canvas.paste(cutting, (left, top))
        rectangle = (left, top, left + cutting.width, top + cutting.height)
        yield Composite(encode_jpeg(canvas, 92), name, class_id, rectangle)


def _make_background(random: np.random.Generator, *, is_plain: bool) -> Image.Image:
    size = int(random.integers(*_WIDTHS_PX)), int(random.integers(*_HEIGHTS_PX))
    if is_plain:
        return Image.new("RGB", size, tuple(int(value) for value in random.integers(0, 256, 3)))
    texture = _TEXTURES[int(random.integers(len(_TEXTURES)))]
    return _load(texture).resize(size)


def _load(file: str) -> Image.Image:
    return Image.open(Path(skimage.__file__).parent / "data" / file).convert("RGB")
