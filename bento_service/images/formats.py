"""The image formats, told by a file's first bytes. The declared content type is not used."""

from enum import StrEnum

from bento_service.errors import UnsupportedFormatError
from bento_service.images.advice import advise


class ImageFormat(StrEnum):
    """The formats that Lightbox reads."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"
    GIF = "GIF"
    BMP = "BMP"
    TIFF = "TIFF"
    HEIC = "HEIC"
    AVIF = "AVIF"


IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif"}
)
"""What the names of image files end with, in lower case; only a search through folders goes by them."""
_PREFIXES = (
    (b"\xff\xd8\xff", ImageFormat.JPEG),
    (b"\x89PNG\r\n\x1a\n", ImageFormat.PNG),
    (b"GIF87a", ImageFormat.GIF),
    (b"GIF89a", ImageFormat.GIF),
    (b"BM", ImageFormat.BMP),
    (b"II*\0", ImageFormat.TIFF),
    (b"MM\0*", ImageFormat.TIFF),
    (b"II+\0", ImageFormat.TIFF),  # BigTIFF
    (b"MM\0+", ImageFormat.TIFF),
)
_HEVC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AV1_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"mif1", b"mif2", b"msf1"})
_MAX_BRANDS = 32


def _find_heif(encoded: bytes) -> ImageFormat | None:
    """Tell HEIC and AVIF apart by the brands of the `ftyp` box, the major one first (ISO/IEC 14496-12, 4.3).

    A HEIF file without a brand of either codec counts as HEIC; the decoder checks it.
    """
    end = min(int.from_bytes(encoded[:4], "big"), 16 + 4 * _MAX_BRANDS, len(encoded))
    brands = [encoded[at : at + 4] for at in (8, *range(16, end - 3, 4))]
    for brand in brands:
        if brand in _HEVC_BRANDS:
            return ImageFormat.HEIC
        if brand in _AV1_BRANDS:
            return ImageFormat.AVIF
    return ImageFormat.HEIC if _HEIF_BRANDS & {*brands} else None


def find_format(encoded: bytes) -> ImageFormat | None:
    """Find the format by the first bytes; None where it is none of `ImageFormat`."""
    for prefix, image_format in _PREFIXES:
        if encoded.startswith(prefix):
            return image_format
    if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
        return ImageFormat.WEBP
    return _find_heif(encoded) if encoded[4:8] == b"ftyp" else None


def sniff(encoded: bytes) -> ImageFormat:
    """Find the format by the first bytes.

    Raises:
        UnsupportedFormatError: It is none of `ImageFormat`. The message names what the file is and what to do.
    """
    image_format = find_format(encoded)
    if image_format is not None:
        return image_format
    advice = advise(encoded, lambda head: find_format(head) is not None)
    what = (
        f"You sent {advice}" if advice else "This is not an image Lightbox can read; convert it to one of these formats"
    )
    raise UnsupportedFormatError(f"{what}. Allowed: {', '.join(ImageFormat)}.", allowed=list(ImageFormat))
