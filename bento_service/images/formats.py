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
    allowed = ", ".join(ImageFormat)
    raise UnsupportedFormatError(
        f"The bytes begin with {encoded[:8].hex(' ')}, which is none of {allowed}; convert the image to one of them.",
        allowed=list(ImageFormat),
    )
