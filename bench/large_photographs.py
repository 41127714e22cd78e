"""Large JPEGs, as cameras make them: regions of scikit-image's photographs, enlarged, half of them noisy."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

_SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg")
_SMALLEST_REGION_PX = 96
_LONGEST_ASPECT = 1.5
_NOISE_LEVELS = 8.0
"""Standard deviation: a phone's by lamplight. What was enlarged has no detail of its own that scaling could lose."""


def make_large_jpegs(count: int, *, seed: int = 0, short_side_px: tuple[int, int] = (1536, 2600)) -> Iterator[bytes]:
    """Make `count` different JPEGs of quality 90, every second one noisy; equal seeds make equal files.

    Args:
        count: Files to make.
        seed: Of the regions, sizes and noise.
        short_side_px: Smallest and largest length of the short side; the long one has up to 1.5 times as much.
    """
    random = np.random.default_rng(seed)
    folder = Path(skimage.__file__).parent / "data"
    sources = [Image.open(folder / name).convert("RGB") for name in _SOURCES]
    longest_px = int(short_side_px[1] * _LONGEST_ASPECT) + 1
    noise = random.normal(0, _NOISE_LEVELS, (longest_px, longest_px)).astype(np.int16)
    for number in range(count):
        region = _cut(sources[number % len(sources)], random)
        image = _enlarge(region, int(random.integers(*short_side_px, endpoint=True)))
        if number % 2:
            image = _add(image, noise)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def _cut(source: Image.Image, random: np.random.Generator) -> Image.Image:
    width_px = int(random.integers(_SMALLEST_REGION_PX, source.width + 1))
    height_px = int(random.integers(_SMALLEST_REGION_PX, source.height + 1))
    width_px = min(width_px, int(height_px * _LONGEST_ASPECT))
    height_px = min(height_px, int(width_px * _LONGEST_ASPECT))
    left = int(random.integers(0, source.width - width_px + 1))
    top = int(random.integers(0, source.height - height_px + 1))
    return source.crop((left, top, left + width_px, top + height_px))


def _enlarge(region: Image.Image, short_side_px: int) -> Image.Image:
    scale = short_side_px / min(region.size)
    return region.resize((round(region.width * scale), round(region.height * scale)), Image.Resampling.BICUBIC)


def _add(image: Image.Image, noise: np.ndarray[tuple[int, ...], np.dtype[np.int16]]) -> Image.Image:
    noisy = np.asarray(image).astype(np.int16) + noise[: image.height, : image.width, None]
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
