"""Photographs, encoded in every format and mode."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import skimage
from PIL import Image, ImageCms

from bento_service.domain.models import InputRecipe
from bento_service.domain.requests import PreprocessedImage
from bento_service.images.preprocessing import ImageLimits, preprocess

RECIPE = InputRecipe(
    height_px=224,
    width_px=224,
    crop_fraction=0.875,
    interpolation="bicubic",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
RECORDED = Path(__file__).parent / "recorded"
"""Pictures of 48 x 41 pixels that Pillow cannot write, and what another program shows of each.

HEIC by x265 (pillow-heif), shown by `heif-convert`; `deep.avif`, of 10 bits, by imagecodecs, shown by Chromium.
"""
LIMITS = ImageLimits(max_bytes=20_000_000, max_pixels=50_000_000)


def read(encoded: bytes, recipe: InputRecipe = RECIPE, *, max_pixels: int = LIMITS.max_pixels) -> PreprocessedImage:
    """Preprocess a file."""
    return preprocess(encoded, recipe, ImageLimits(LIMITS.max_bytes, max_pixels))


def read_whole(encoded: bytes) -> Image.Image:
    """Return a file's picture upright, neither resized nor cropped."""
    info = read(encoded).info
    return Image.fromarray(read(encoded, uncropped(info.width_px, info.height_px)).pixels_hwc)


def uncropped(width_px: int, height_px: int) -> InputRecipe:
    """Return the recipe that leaves an image of this size as it is."""
    return replace(RECIPE, width_px=width_px, height_px=height_px, crop_fraction=1.0)


@cache
def load_photograph(name: str = "chelsea.png") -> Image.Image:
    """Return a photograph of scikit-image, as RGB without metadata; do not change it."""
    with Image.open(Path(skimage.__file__).parent / "data" / name) as source:
        photograph = source.convert("RGB")
    photograph.info.clear()
    return photograph


def encode(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Encode with Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def decode_with_pillow(encoded: bytes) -> Image.Image:
    """Decode with Pillow, in the file's own mode."""
    image = Image.open(io.BytesIO(encoded))
    image.load()
    return image


def convert(photograph: Image.Image, mode: str) -> Image.Image:
    """Convert to any mode that a file can hold; to deep ones over their full range."""
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(photograph, srgb, lab, outputMode="LAB")
        assert converted is not None
    elif mode == "I;16":
        converted = photograph.convert("L").convert("I").point(lambda value: value * 257).convert("I;16")
    elif mode in {"I", "F"}:
        converted = photograph.convert("L").convert(mode)
    else:
        converted = photograph.convert(mode)
    converted.info.clear()
    return converted


def exif_with_orientation(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode_png(bits: int, colour_type: int, pixels: bytes, *, side_px: int = 1) -> bytes:
    """Write a square PNG; `pixels` are its rows, each after its filter type."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side_px, side_px, bits, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(pixels)) + png_chunk(b"IEND", b"")


def insert_png_chunk(png: bytes, chunk: bytes, place: str = "before the pixels") -> bytes:
    at = {"before the pixels": 33, "after the pixels": len(png) - 12, "after the end": len(png)}[place]
    return png[:at] + chunk + png[at:]


@cache
def encode_every_kind(side_px: int = 48) -> dict[str, bytes]:
    """One small file for each format and mode."""
    return dict(_encode_every_kind(load_photograph().resize((side_px, side_px - 7))))


def _encode_every_kind(photograph: Image.Image) -> Iterator[tuple[str, bytes]]:
    turned = photograph.rotate(90)
    for mode in ("RGB", "L", "CMYK"):
        for progressive in (False, True):
            yield (
                f"jpeg {mode} progressive={progressive}",
                encode(photograph.convert(mode), "JPEG", progressive=progressive, exif=exif_with_orientation(6)),
            )
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield f"png {mode}", encode(convert(photograph, mode), "PNG")
    yield "png animated", encode(photograph, "PNG", save_all=True, append_images=[turned])
    for mode in ("RGB", "RGBA"):
        for lossless in (False, True):
            yield f"webp {mode} lossless={lossless}", encode(photograph.convert(mode), "WEBP", lossless=lossless)
    yield "webp animated", encode(photograph, "WEBP", save_all=True, append_images=[turned])
    yield "gif", encode(photograph.convert("P"), "GIF")
    yield "gif animated", encode(photograph, "GIF", save_all=True, append_images=[turned])
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"bmp {mode}", encode(convert(photograph, mode), "BMP")
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"):
        for compression in (None, "tiff_lzw", "tiff_adobe_deflate"):
            yield f"tiff {mode} {compression}", encode(convert(photograph, mode), "TIFF", compression=compression)
    for recorded in sorted(RECORDED.glob("*.heic")):
        yield f"heic {recorded.stem}", recorded.read_bytes()
    for mode in ("RGB", "L", "RGBA"):
        yield f"avif {mode}", encode(photograph.convert(mode), "AVIF", exif=exif_with_orientation(6))
    yield "avif animated", encode(photograph, "AVIF", save_all=True, append_images=[turned])
    yield "tiff jpeg", encode(photograph, "TIFF", compression="jpeg")
    yield "tiff pages", encode(photograph, "TIFF", save_all=True, append_images=[turned])
