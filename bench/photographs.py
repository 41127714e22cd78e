"""Photographs to load a server with, cut from scikit-image's: small ones, and large ones as cameras make them."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

_SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg")
_WIDTH_PX, _HEIGHT_PX = 451, 300
_TARGET_BYTES = 55_000
_SMALLEST_REGION_PX = 96
_LONGEST_ASPECT = 1.5
_NOISE_LEVELS = 8.0
"""Standard deviation: a phone's by lamplight. What was enlarged has no detail of its own that scaling could lose."""


def load_sources() -> list[Image.Image]:
    """Load six of scikit-image's photographs as RGB."""
    folder = Path(skimage.__file__).parent / "data"
    return [Image.open(folder / name).convert("RGB") for name in _SOURCES]


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Encode with Pillow's defaults (4:2:0)."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def write_photographs(folder: Path, count: int = 256, seed: int = 0) -> list[Path]:
    """Write `count` different JPEG photographs of 451x300 and about 55 kB, the same ones for the same seed.

    Each is a region of one of scikit-image's photographs, between half and all of its size, in the quality that comes
    nearest to 55 kB, as cameras and phones deliver them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    sources = load_sources()
    paths = []
    for number in range(count):
        path = folder / f"{number:03d}.jpg"
        path.write_bytes(_encode(_cut(sources[number % len(sources)], rng)))
        paths.append(path)
    return paths


def _cut(source: Image.Image, rng: np.random.Generator) -> Image.Image:
    scale = rng.uniform(0.5, 1.0) * min(source.width / _WIDTH_PX, source.height / _HEIGHT_PX)
    width, height = _WIDTH_PX * scale, _HEIGHT_PX * scale
    left, top = rng.uniform(0, source.width - width), rng.uniform(0, source.height - height)
    box = (left, top, left + width, top + height)
    return source.resize((_WIDTH_PX, _HEIGHT_PX), Image.Resampling.BICUBIC, box=box)


def _encode(image: Image.Image) -> bytes:
    encoded = (encode_jpeg(image, quality) for quality in (98, 96, 94, 92, 90, 85))
    return next((one for one in encoded if len(one) <= _TARGET_BYTES), None) or encode_jpeg(image, 80)


def make_large_jpegs(count: int, *, seed: int = 0, short_side_px: tuple[int, int] = (1536, 2600)) -> Iterator[bytes]:
    """Make `count` different JPEGs of quality 90, every second one noisy; equal seeds make equal files.

    `short_side_px` bounds the length of the short side; the long one has up to 1.5 times as much.
    """
    random = np.random.default_rng(seed)
    sources = load_sources()
    longest_px = int(short_side_px[1] * _LONGEST_ASPECT) + 1
    noise = random.normal(0, _NOISE_LEVELS, (longest_px, longest_px)).astype(np.int16)
    for number in range(count):
        region = _cut_region(sources[number % len(sources)], random)
        image = _enlarge(region, int(random.integers(*short_side_px, endpoint=True)))
        if number % 2:
            image = _add(image, noise)
        yield encode_jpeg(image, quality=90)


def _cut_region(source: Image.Image, random: np.random.Generator) -> Image.Image:
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
