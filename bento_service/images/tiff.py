"""TIFF: which of a file's images is the picture, whether its samples are understood, and its pixels."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import OPEN_INFO

from bento_service.errors import UndecodableImageError
from bento_service.images.colour import SampleLayout
from bento_service.images.formats import ImageFormat
from bento_service.images.intake_warning import IntakeWarning
from bento_service.images.reader import check_pixels, open_header
from bento_service.images.tiff_directory import Directory, find_picture, write_directory
from bento_service.images.tiff_samples import (
    BLACK_IS_ZERO,
    DEPTHS,
    FLOAT,
    LOSSLESS,
    RGB,
    SEPARATED,
    SIGNED,
    UNDEFINED,
    UNSIGNED,
    WHITE_IS_ZERO,
    TiffLayout,
    read_samples,
)

PALETTE, YCBCR, CIE_LAB = 3, 6, 8
OLD_JPEG, JPEG = 6, 7

_COLOURS: Final[Mapping[int, int]] = {
    **dict.fromkeys((WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE), 1),
    **dict.fromkeys((RGB, YCBCR, CIE_LAB), 3),
    SEPARATED: 4,
}
"""Samples that make the colour, by photometric interpretation."""
_SENSOR_DATA: Final = frozenset({32803, 34892})
"""Colour filter array and linear raw (DNG specification)."""
_INK_SET, _CMYK = 332, 1
_SAMPLE_FORMATS: Final = {UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "floating-point", UNDEFINED: "undefined"}
_XMP_ORIENTATION: Final = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_KEPT: Final = frozenset({256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325}) | {
    *(292, 293),  # options of CCITT
    *range(512, 522),  # old JPEG
    *(347, 529, 530, 531, 532),  # JPEG tables, YCbCr
}
"""What decoding takes. All else is metadata, and is left out before Pillow or libtiff sees the file."""


@dataclass(frozen=True, slots=True)
class TiffPicture:
    """The picture of a TIFF, not yet decoded. `size` is as it is stored; `orientation` is 1 to 8."""

    directory: Directory
    layout: TiffLayout
    orientation: int
    warnings: tuple[IntakeWarning, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, not yet turned."""
        return self.layout.width_px, self.layout.height_px

    def load(self, max_pixels: int) -> tuple[Image.Image, SampleLayout, tuple[IntakeWarning, ...]]:
        """Decode it.

        Raises:
            Exception: Whatever the decoders trip over in damaged data.
        """
        layout = self.layout
        if _is_left_to_pillow(self.directory, layout):
            rewritten = write_directory(self.directory, _KEPT, _normalise(layout))
            image = open_header(rewritten, ImageFormat.TIFF, max_pixels)
            image.load()
            return image, SampleLayout(layout.bits, is_white_zero=layout.photometric == WHITE_IS_ZERO), ()
        samples, warnings = read_samples(self.directory, layout, max_pixels)
        return samples, SampleLayout(layout.bits), warnings


def open_tiff(encoded: bytes, max_pixels: int) -> TiffPicture:
    """Find the picture in a TIFF and check that its pixels can be decoded to what they mean; nothing is decoded yet.

    Raises:
        TooManyPixelsError: The picture, or a tile of it, exceeds `max_pixels`.
        UndecodableImageError: The directory is damaged, or the samples are of a kind that Lightbox does not read.
    """
    directory, is_one_of_several = find_picture(encoded)
    check_pixels(directory.number(Tag.ImageWidth, 0), directory.number(Tag.ImageLength, 0), max_pixels)
    check_pixels(directory.number(Tag.TileWidth, 0), directory.number(Tag.TileLength, 0), max_pixels)
    layout = _read_layout(directory)
    warnings = []
    if is_one_of_several:
        warnings.append(IntakeWarning.FIRST_FRAME_USED)
    if Tag.InterColorProfile in directory.entries:
        warnings.append(IntakeWarning.ICC_PROFILE_IGNORED)
    if directory.damaged:
        warnings.append(IntakeWarning.METADATA_IGNORED)
    return TiffPicture(directory, layout, _read_orientation(directory), tuple(warnings))


def _read_layout(directory: Directory) -> TiffLayout:
    """Read and check the tags that say how samples are stored; the defaults are those of TIFF 6.0 and libtiff."""
    lost = directory.damaged & _KEPT
    if lost:
        raise UndecodableImageError(f"The TIFF is truncated or corrupt: tags {sorted(lost)} lie outside the file.")
    width_px, height_px = directory.number(Tag.ImageWidth, 0), directory.number(Tag.ImageLength, 0)
    if width_px < 1 or height_px < 1:
        raise UndecodableImageError(f"The TIFF is corrupt: it has {width_px} x {height_px} pixels; export it again.")
    compression = directory.number(Tag.Compression, 1)
    channels = directory.number(Tag.SamplesPerPixel, 3 if compression == OLD_JPEG else 1)
    photometric = directory.number(Tag.PhotometricInterpretation, RGB if channels >= 3 else BLACK_IS_ZERO)
    if photometric in _SENSOR_DATA:
        raise _refuse("a camera's raw sensor data", "develop it to JPEG, PNG or TIFF")
    colours = _COLOURS.get(photometric)
    if colours is None or channels < colours:
        raise _refuse(f"{channels} samples a pixel of photometric interpretation {photometric}")
    if photometric == SEPARATED and directory.number(_INK_SET, _CMYK) != _CMYK:
        raise _refuse("inks other than CMYK", "save it as RGB or CMYK")
    all_bits = directory.numbers(Tag.BitsPerSample, (1,))
    all_formats = directory.numbers(Tag.SampleFormat, (UNSIGNED,))
    if len(set(all_bits[:channels])) > 1 or len(set(all_formats[:channels])) > 1:
        raise _refuse(f"samples of different kinds in a pixel ({list(all_bits[:channels])} bits)")
    layout = TiffLayout(
        width_px=width_px,
        height_px=height_px,
        photometric=photometric,
        compression=compression,
        predictor=directory.number(Tag.Predictor, 1),
        bits=all_bits[0],
        sample_format=all_formats[0],
        channels=channels,
        colours=colours,
        extra_samples=directory.numbers(Tag.ExtraSamples)[: channels - colours],
        is_planar=channels > 1 and directory.number(Tag.PlanarConfiguration, 1) == 2,
    )
    if not _is_left_to_pillow(directory, layout) and not _is_plain_samples(layout):
        raise _refuse(
            f"{layout.bits}-bit {_SAMPLE_FORMATS.get(layout.sample_format, 'complex')} samples "
            f"({'planar, ' if layout.is_planar else ''}{channels} a pixel, photometric interpretation {photometric}, "
            f"compression {compression})"
        )
    return layout


def _refuse(what: str, advice: str = "save it with 8 or 16 bits a sample, in RGB or grey") -> UndecodableImageError:
    return UndecodableImageError(f"The TIFF has {what}, which Lightbox does not read; {advice}.")


def _is_left_to_pillow(directory: Directory, layout: TiffLayout) -> bool:
    """Whether Pillow has a reader for the samples that gives what they mean."""
    if layout.compression == OLD_JPEG:
        return True
    if layout.is_planar or layout.sample_format not in {UNSIGNED, UNDEFINED} or layout.bits > 16:
        return False
    return _pillows_key(directory, layout) in OPEN_INFO


def _pillows_key(directory: Directory, layout: TiffLayout) -> tuple[object, ...]:
    bits, fill_order = (layout.bits,) * layout.channels, directory.number(Tag.FillOrder, 1)
    return (directory.encoded[:2], layout.photometric, (1,), fill_order, bits, layout.extra_samples)


def _is_plain_samples(layout: TiffLayout) -> bool:
    """Whether the samples are numbers that numpy has, losslessly compressed, of grey, RGB or CMYK."""
    return (
        layout.compression in LOSSLESS
        and layout.bits in DEPTHS
        and layout.photometric in {WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, SEPARATED}
        and layout.sample_format in _SAMPLE_FORMATS
        and (layout.sample_format != FLOAT or layout.bits > 8)
    )


def _normalise(layout: TiffLayout) -> dict[int, tuple[int, ...]]:
    """Return tags that say outright what Pillow would have to assume, and assumes otherwise than libtiff."""
    changes: dict[int, tuple[int, ...]] = {Tag.PhotometricInterpretation: (layout.photometric,)}
    if layout.compression != OLD_JPEG:
        changes |= {Tag.BitsPerSample: (layout.bits,) * layout.channels, Tag.SamplesPerPixel: (layout.channels,)}
    if layout.extra_samples:
        changes[Tag.ExtraSamples] = layout.extra_samples
    return changes


def _read_orientation(directory: Directory) -> int:
    """Read the orientation, or XMP's where the tag is missing; 1 (upright) where there is none or it makes no sense."""
    orientation = directory.number(Tag.Orientation, 0)
    if Tag.Orientation not in directory.entries:
        found = _XMP_ORIENTATION.search(directory.data(Tag.XMLPacket))
        orientation = int(found[1]) if found else 1
    return orientation if 1 <= orientation <= 8 else 1
