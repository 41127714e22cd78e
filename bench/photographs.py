"""Photographs to load a server with: as many different ones as wanted, cut from scikit-image's."""

import argparse
import io
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

_SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg")
_WIDTH_PX, _HEIGHT_PX = 451, 300
_TARGET_BYTES = 55_000


def write_photographs(folder: Path, count: int = 256, seed: int = 0) -> list[Path]:
    """Write `count` different JPEG photographs of 451x300 and about 55 kB, the same ones for the same seed.

    Each is a region of one of scikit-image's photographs, between half and all of its size, in the quality that comes
    nearest to 55 kB, as cameras and phones deliver them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    sources = [Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB") for name in _SOURCES]
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
    encoded = b""
    for quality in (98, 96, 94, 92, 90, 85, 80):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        encoded = buffer.getvalue()
        if len(encoded) <= _TARGET_BYTES:
            break
    return encoded


def main() -> None:
    """Write them to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=256)
    arguments = parser.parse_args()
    paths = write_photographs(arguments.folder, arguments.count)
    sizes = [path.stat().st_size for path in paths]
    print(f"{len(paths)} photographs, {np.mean(sizes) / 1000:.0f} kB on average")


if __name__ == "__main__":
    main()
