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
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from bento_service.errors import LightboxError, TooManyPixelsError, UndecodableImageError
from bento_service.images.colour import SampleLayout
from bento_service.images.formats import ImageFormat
from bento_service.images.header import check_pixels, read_webp_size
from bento_service.images.heif import AvifFile, HeicFile, open_heif

# The plugin classes themselves rather than Image.open: no other plugin can ever run (a JPEG with several pictures would
# reach MPO's), and Pillow's process-wide MAX_IMAGE_PIXELS stays out of it.
_READERS: Final[Mapping[ImageFormat, type[ImageFile]]] = {
    ImageFormat.JPEG: JpegImageFile,
    ImageFormat.PNG: PngImageFile,
    ImageFormat.WEBP: WebPImageFile,
    ImageFormat.GIF: GifImageFile,
    ImageFormat.BMP: BmpImageFile,
    ImageFormat.TIFF: TiffImageFile,
}
_PNG_BIT_DEPTH_OFFSET = 24


def silence_pillow() -> None:
    """Keep Pillow's warnings about strangers' files off standard error, for the whole process; call it once at start.

    They say nothing that an answer's warnings or its error don't, and Python remembers each text for ever.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


@contextmanager
def reporting_damage(image_format: ImageFormat) -> Iterator[None]:
    """Turn whatever a decoder trips over into one of Lightbox's errors.

    Raises:
        TooManyPixelsError: Pillow's own limit was met, inside a header (a frame or a tile larger than its image).
        UndecodableImageError: Anything else.
    """
    try:
        yield
    except LightboxError:
        raise
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"The {image_format} declares more pixels than can be decoded: {error}") from error
    # Decoders of damaged files raise whatever they trip over (struct.error, IndexError, SyntaxError, zlib.error,
    # MemoryError, RecursionError ...): nothing but the bytes can be the cause here.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__  # libheif ends some with a new line
        raise UndecodableImageError(
            f"The {image_format} is truncated, corrupt or of an unusual kind ({reason}); "
            "send the whole file, or export it again."
        ) from error


def open_image(encoded: bytes, image_format: ImageFormat, max_pixels: int) -> ImageFile:
    """Read a file's header; the pixels stay encoded until `load`.

    Raises:
        TooManyPixelsError: The image, or a tile that its decoder would have to hold, exceeds `max_pixels`.
        UndecodableImageError: The header is damaged.
    """
    with reporting_damage(image_format):
        if image_format is ImageFormat.WEBP:
            # Pillow's reader allocates two canvases as it opens the file.
            check_pixels(*read_webp_size(encoded), max_pixels)
        if image_format in {ImageFormat.HEIC, ImageFormat.AVIF}:
            header = open_heif(encoded, image_format, max_pixels)
        else:
            header = _READERS[image_format](io.BytesIO(encoded))
    check_pixels(*header.size, max_pixels)
    if isinstance(header, TiffImageFile):
        tile_size = header.tag_v2.get(Tag.TileWidth, 0), header.tag_v2.get(Tag.TileLength, 0)
        with reporting_damage(image_format):
            check_pixels(int(tile_size[0]), int(tile_size[1]), max_pixels)
    return header


def read_orientation(header: ImageFile) -> int | None:
    """Read the EXIF or XMP orientation, 1 to 8; 1 (upright) where there is none or it makes no sense.

    None where there is EXIF that cannot be read.
    """
    try:
        exif = header.getexif()
        orientation = exif.get(Tag.Orientation, 1)
    # Metadata is no reason to refuse a picture, and Pillow's parsers raise whatever they trip over.
    except Exception:  # noqa: BLE001
        return None
    if header.info.get("exif") and not len(exif):
        return None
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def read_layout(header: ImageFile, encoded: bytes) -> SampleLayout:
    """Read what Pillow's mode leaves out of a file's samples; not of a TIFF's, see `tiff`."""
    if isinstance(header, HeicFile | AvifFile):
        return SampleLayout(header.sample_bits)
    return SampleLayout(encoded[_PNG_BIT_DEPTH_OFFSET] if isinstance(header, PngImageFile) else 8)
