"""Which format the bytes are. The declared content type plays no part."""

from enum import StrEnum

from bento_service.errors import UnsupportedFormatError


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


def read_brands(encoded: bytes) -> list[bytes]:
    """Return the brands of a file that begins with an `ftyp` box, the major one first (ISO/IEC 14496-12, 4.3)."""
    end = min(int.from_bytes(encoded[:4], "big"), 16 + 4 * _MAX_BRANDS, len(encoded))
    return [encoded[at : at + 4] for at in (8, *range(16, end - 3, 4))]


def _sniff_heif(encoded: bytes) -> ImageFormat | None:
    """Name a HEIF file by its codec; one that names none counts as HEIC, whose decoder says what it holds."""
    brands = read_brands(encoded)
    for brand in brands:
        if brand in _HEVC_BRANDS:
            return ImageFormat.HEIC
        if brand in _AV1_BRANDS:
            return ImageFormat.AVIF
    return ImageFormat.HEIC if _HEIF_BRANDS & {*brands} else None


def sniff(encoded: bytes) -> ImageFormat:
    """Name the format by its first bytes.

    Raises:
        UnsupportedFormatError: They are those of none of `ImageFormat`.
    """
    for prefix, image_format in _PREFIXES:
        if encoded.startswith(prefix):
            return image_format
    if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if encoded[4:8] == b"ftyp" and (heif_format := _sniff_heif(encoded)) is not None:
        return heif_format
    allowed = ", ".join(ImageFormat)
    raise UnsupportedFormatError(
        f"The bytes begin with {encoded[:8].hex(' ')}, which is none of {allowed}; convert the image to one of them.",
        allowed=list(ImageFormat),
    )
