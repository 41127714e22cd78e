"""TIFF: which of a file's images is the picture, whether its samples are understood, and its pixels."""

import re
from dataclasses import dataclass
from typing import Final

from PIL import Image
from PIL.ExifTags import Base as Tag

from bento_service.domain.requests import ImageWarning
from bento_service.errors import UndecodableImageError
from bento_service.images.colour import SampleLayout
from bento_service.images.formats import ImageFormat
from bento_service.images.header import check_pixels
from bento_service.images.pillow_reader import open_image
from bento_service.images.tiff_directory import Directory, find_picture, has_several_pages, write_directory
from bento_service.images.tiff_layout import KEPT_TAGS, OLD_JPEG, UNCOMPRESSED, WHITE_IS_ZERO, TiffLayout, read_layout
from bento_service.images.tiff_samples import read_samples

_XMP_ORIENTATION: Final = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_MAX_COLOUR_OF_EIGHT_BITS: Final = 255


@dataclass(frozen=True, slots=True)
class TiffPicture:
    """The picture of a TIFF, not yet decoded. `orientation` is 1 to 8."""

    directory: Directory
    layout: TiffLayout
    orientation: int
    warnings: tuple[ImageWarning, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as they are stored."""
        return self.layout.width_px, self.layout.height_px

    def load(self, max_pixels: int) -> tuple[Image.Image, SampleLayout, tuple[ImageWarning, ...]]:
        """Decode it, without applying the orientation.

        Raises:
            Exception: Whatever the decoders trip over in damaged data.
        """
        layout = self.layout
        if not layout.is_left_to_pillow:
            samples, warnings = read_samples(self.directory, layout, max_pixels)
            return samples, SampleLayout(layout.bits), warnings
        rewritten = write_directory(self.directory, KEPT_TAGS, _say_outright(self.directory, layout))
        image = open_image(rewritten, ImageFormat.TIFF, max_pixels)
        image.load()
        return image, SampleLayout(layout.bits, is_white_zero=layout.photometric == WHITE_IS_ZERO), ()


def open_tiff(encoded: bytes, max_pixels: int, directory: Directory | None = None) -> TiffPicture:
    """Find the picture in a TIFF and check that Lightbox decodes its pixels correctly; nothing is decoded yet.

    `directory` is the picture's, where `find_picture` has found it already.

    Raises:
        TooManyPixelsError: The picture, or a tile of it, exceeds `max_pixels`.
        UndecodableImageError: The file is truncated, or the samples are of a kind that Lightbox does not read.
    """
    directory = directory or find_picture(encoded)
    lost = directory.damaged & KEPT_TAGS
    if lost:
        raise UndecodableImageError(
            f"The TIFF is truncated or corrupt: the values of its tags {sorted(lost)} lie outside the file; "
            "send the whole file."
        )
    check_pixels(directory.number(Tag.ImageWidth, 0), directory.number(Tag.ImageLength, 0), max_pixels)
    check_pixels(directory.number(Tag.TileWidth, 0), directory.number(Tag.TileLength, 0), max_pixels)
    layout = read_layout(directory)
    _check_places(directory, layout)
    warnings = []
    if has_several_pages(encoded):
        warnings.append(ImageWarning.FIRST_FRAME_USED)
    if Tag.InterColorProfile in directory.entries:
        warnings.append(ImageWarning.ICC_PROFILE_IGNORED)
    if directory.damaged:
        warnings.append(ImageWarning.METADATA_IGNORED)
    return TiffPicture(directory, layout, _read_orientation(directory), tuple(warnings))


def _check_places(directory: Directory, layout: TiffLayout) -> None:
    """Refuse strips and tiles that reach beyond the file: decoders would read on in what `write_directory` appends."""
    if layout.compression == OLD_JPEG:
        return
    offsets, byte_counts = map(directory.numbers, directory.block_tags)
    if layout.compression == UNCOMPRESSED:
        byte_counts = tuple(_find_block_sizes(directory, layout, len(offsets)))
    if not offsets or len(byte_counts) < len(offsets):
        raise UndecodableImageError("The TIFF is corrupt: it does not say where its pixels lie; export it again.")
    end = max(offset + size_bytes for offset, size_bytes in zip(offsets, byte_counts, strict=False))
    if end > len(directory.encoded):
        raise UndecodableImageError(
            f"The TIFF is truncated: its pixels need {end:,} bytes and the file has {len(directory.encoded):,}; "
            "send the whole file."
        )


def _find_block_sizes(directory: Directory, layout: TiffLayout, blocks: int) -> list[int]:
    """Return how many bytes each strip or tile of an uncompressed image takes."""
    channels = 1 if layout.is_planar else layout.channels
    if directory.is_tiled:
        row_bytes = -(-directory.number(Tag.TileWidth, 0) * channels * layout.bits // 8)
        return [row_bytes * directory.number(Tag.TileLength, 0)] * blocks
    row_bytes = -(-layout.width_px * channels * layout.bits // 8)
    rows = max(1, min(directory.number(Tag.RowsPerStrip, layout.height_px), layout.height_px))
    strips = -(-layout.height_px // rows)
    last_rows = layout.height_px - (strips - 1) * rows
    return [row_bytes * (last_rows if block % strips == strips - 1 else rows) for block in range(blocks)]


def _say_outright(directory: Directory, layout: TiffLayout) -> dict[int, tuple[int, ...]]:
    """Return the tags that Pillow has to be told since its defaults differ from libtiff's."""
    changes: dict[int, tuple[int, ...]] = {Tag.PhotometricInterpretation: (layout.photometric,)}
    if layout.compression != OLD_JPEG:
        changes |= {Tag.BitsPerSample: (layout.bits,) * layout.channels, Tag.SamplesPerPixel: (layout.channels,)}
    if layout.extra_samples:
        changes[Tag.ExtraSamples] = layout.extra_samples
    colour_map = directory.numbers(Tag.ColorMap)
    if colour_map and max(colour_map) <= _MAX_COLOUR_OF_EIGHT_BITS:
        changes[Tag.ColorMap] = tuple(colour << 8 for colour in colour_map)
    return changes


def _read_orientation(directory: Directory) -> int:
    """Read the orientation, or XMP's where the tag is missing; 1 (upright) where there is none or it makes no sense."""
    orientation = directory.number(Tag.Orientation, 0)
    if Tag.Orientation not in directory.entries:
        found = _XMP_ORIENTATION.search(directory.data(Tag.XMLPacket))
        orientation = int(found[1]) if found else 1
    return orientation if 1 <= orientation <= 8 else 1
