"""Open a file with the one Pillow plugin for its format; the pixels stay encoded until `load`."""

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as Tag
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from bento_service.errors import LightboxError, TooManyPixelsError, UndecodableImageError
from bento_service.images.formats import ImageFormat
from bento_service.images.header import check_pixels, read_webp_size
from bento_service.images.heif import BIT_DEPTH, open_heif

# The plugin classes rather than Image.open, so that no other plugin runs (a JPEG with several pictures would reach
# MPO's) and Pillow's process-wide MAX_IMAGE_PIXELS has no effect.
_READERS: Final[Mapping[ImageFormat, type[ImageFile]]] = {
    ImageFormat.JPEG: JpegImageFile,
    ImageFormat.PNG: PngImageFile,
    ImageFormat.WEBP: WebPImageFile,
    ImageFormat.GIF: GifImageFile,
    ImageFormat.BMP: BmpImageFile,
}
_PNG_BIT_DEPTH_OFFSET = 24


def silence_pillow() -> None:
    """Filter Pillow's Python warnings in the whole process; call it once at start.

    The response's warnings or its error say the same, and Python keeps every warning text it has seen in memory.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


@contextmanager
def reporting_damage(image_format: ImageFormat) -> Iterator[None]:
    """Translate any exception of a decoder.

    Raises:
        TooManyPixelsError: Pillow's own limit was exceeded, by a frame or tile larger than the image.
        UndecodableImageError: Anything else was raised.
    """
    try:
        yield
    except LightboxError:
        raise
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"The {image_format} declares more pixels than can be decoded: {error}") from error
    # Damaged files make decoders raise struct.error, IndexError, SyntaxError, zlib.error, MemoryError and more.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__  # libheif ends some messages with a newline
        raise UndecodableImageError(
            f"The {image_format} is truncated, corrupt or of an unusual kind ({reason}); "
            "send the whole file, or export it again."
        ) from error


def open_image(encoded: bytes, image_format: ImageFormat, max_pixels: int) -> ImageFile:
    """Open a file and read its header; the pixels stay encoded until `load`. A damaged header raises any exception.

    Raises:
        TooManyPixelsError: The image exceeds `max_pixels`.
    """
    if image_format is ImageFormat.WEBP:
        # Pillow allocates two canvases when it opens a WebP.
        check_pixels(*read_webp_size(encoded), max_pixels)
    if image_format in {ImageFormat.HEIC, ImageFormat.AVIF}:
        image = open_heif(encoded, image_format, max_pixels)
    else:
        image = _READERS[image_format](io.BytesIO(encoded))
    check_pixels(*image.size, max_pixels)
    return image


def read_orientation(image: ImageFile) -> int | None:
    """Read the EXIF or XMP orientation, 1 to 8; 1 (upright) where it is missing or invalid; None: unreadable."""
    try:
        exif = image.getexif()
        orientation = exif.get(Tag.Orientation, 1)
    # Pillow's parsers raise anything on damaged EXIF, which is no reason to refuse the image.
    except Exception:  # noqa: BLE001
        return None
    if image.info.get("exif") and not len(exif):
        return None
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def read_sample_bits(image: ImageFile, encoded: bytes) -> int:
    """Read the bits of a sample, of any format but TIFF."""
    return encoded[_PNG_BIT_DEPTH_OFFSET] if isinstance(image, PngImageFile) else int(image.info.get(BIT_DEPTH, 8))
