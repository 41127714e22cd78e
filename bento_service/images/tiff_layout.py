"""How a TIFF's samples are stored, by its tags, and which layouts are supported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import COMPRESSION_INFO, OPEN_INFO

from bento_service.errors import UndecodableImageError
from bento_service.images.tiff_directory import Directory

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR, CIE_LAB = 0, 1, 2, 3, 5, 6, 8
UNCOMPRESSED, OLD_JPEG, JPEG = 1, 6, 7
UNSIGNED, SIGNED, FLOAT, _UNDEFINED = 1, 2, 3, 4
KEPT_TAGS: Final = frozenset({*range(256, 260), 262, 266, 273, 277, 278, 279, 284, 317, 320, *range(322, 326)}) | {
    *(292, 293),  # options of CCITT
    *range(512, 522),  # old JPEG
    *(347, 529, 530, 531, 532),  # JPEG tables, YCbCr
}
"""The tags that decoding needs. All others are removed before Pillow or libtiff reads the file."""

_LOSSLESS: Final = frozenset({UNCOMPRESSED, 5, 8, 32946, 32773, 34925, 50000})
"""Compressions of plain bytes: none, LZW, Deflate (two codes), PackBits, LZMA, Zstandard."""
_CCITT: Final = frozenset({2, 3, 4})
_COLOURS: Final[Mapping[int, int]] = {
    **dict.fromkeys((WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE), 1),
    **dict.fromkeys((RGB, YCBCR, CIE_LAB), 3),
    SEPARATED: 4,
}
"""Number of colour samples by photometric interpretation."""
_NUMBERS: Final = {(UNSIGNED, 8), (SIGNED, 8)} | {
    (sample_format, bits) for sample_format in (UNSIGNED, SIGNED, FLOAT) for bits in (16, 32, 64)
}
"""The sample formats and depths that numpy supports."""
_SENSOR_DATA: Final = frozenset({32803, 34892})
"""Colour filter array and linear raw (DNG specification)."""
_PLANAR, _REVERSED, _STRAIGHT_ALPHA = 2, 2, 2
"""Values of the tags for planes, fill order and extra samples."""
_SUBSAMPLING, _DEFAULT_SUBSAMPLING = 530, (2, 2)
_INK_SET, _CMYK = 332, 1
_NAMES: Final = {UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "floating-point"}


@dataclass(frozen=True, slots=True)
class TiffLayout:
    """How a TIFF's samples are stored, by the values of its tags.

    A pixel has `channels` samples of `bits` each. The first `colours` of them are its colour; `extra_samples` describes
    the others (1: premultiplied alpha, 2: straight alpha).
    """

    directory: Directory
    width_px: int
    height_px: int
    photometric: int
    compression: int
    fill_order: int
    is_planar: bool
    bits: int
    sample_format: int
    channels: int
    colours: int
    extra_samples: tuple[int, ...]

    @property
    def alpha(self) -> tuple[int, bool] | None:
        """The alpha channel's index, and whether the colours are premultiplied by it."""
        for channel, meaning in enumerate(self.extra_samples, self.colours):
            if meaning in {1, 2}:
                return channel, meaning == 1
        return None

    @property
    def is_left_to_pillow(self) -> bool:
        """Whether Pillow reads such samples correctly."""
        if self.compression == OLD_JPEG:
            return True
        if self.fill_order == _REVERSED and self.is_plain:
            return False  # Pillow lacks some raw modes for it
        bits = (self.bits,) * self.channels
        mark = self.directory.encoded[:2]
        key = (mark, self.photometric, (self.sample_format,), self.fill_order, bits, self.extra_samples)
        is_read_by_plane = self.compression == JPEG and self.photometric == RGB
        is_right = self.sample_format == UNSIGNED and self.bits <= 16 and (not self.is_planar or is_read_by_plane)
        return is_right and key in OPEN_INFO

    @property
    def is_plain(self) -> bool:
        """Whether the samples are of a numpy type, losslessly compressed, in grey, RGB or CMYK."""
        return (
            self.compression in _LOSSLESS
            and self.photometric in {WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, SEPARATED}
            and (self.sample_format, self.bits) in _NUMBERS
        )


def read_layout(directory: Directory) -> TiffLayout:
    """Read the tags that describe samples, with the defaults of TIFF 6.0 and libtiff.

    Raises:
        UndecodableImageError: The directory is damaged, or Lightbox does not support the layout.
    """
    width_px, height_px = directory.number(Tag.ImageWidth, 0), directory.number(Tag.ImageLength, 0)
    if width_px < 1 or height_px < 1:
        raise UndecodableImageError(f"The TIFF is corrupt: it has {width_px} x {height_px} pixels; export it again.")
    compression = directory.number(Tag.Compression, UNCOMPRESSED)
    channels = directory.number(Tag.SamplesPerPixel, 3 if compression == OLD_JPEG else 1)
    if compression not in COMPRESSION_INFO:
        raise refuse(f"compression {compression}", "save it with LZW or Deflate, or without compression")
    photometric = _read_photometric(directory, compression, channels)
    colours = _count_colours(directory, photometric, compression, channels)
    bits = directory.numbers(Tag.BitsPerSample, (1,))[:channels]
    formats = directory.numbers(Tag.SampleFormat, (UNSIGNED,))[:channels]
    if len(set(bits)) > 1 or len(set(formats)) > 1:
        raise refuse(f"samples of different kinds in a pixel ({', '.join(map(str, bits))} bits)")
    assumed_extra = (_STRAIGHT_ALPHA,) if (photometric, channels) == (RGB, 4) else ()
    layout = TiffLayout(
        directory=directory,
        width_px=width_px,
        height_px=height_px,
        photometric=photometric,
        compression=compression,
        fill_order=directory.number(Tag.FillOrder, 1),
        is_planar=channels > 1 and directory.number(Tag.PlanarConfiguration, 1) == _PLANAR,
        bits=bits[0],
        sample_format=UNSIGNED if formats[0] == _UNDEFINED else formats[0],
        channels=channels,
        colours=colours,
        extra_samples=directory.numbers(Tag.ExtraSamples, assumed_extra)[: channels - colours],
    )
    if not layout.is_left_to_pillow and not layout.is_plain:
        raise refuse(
            f"{layout.bits}-bit {_NAMES.get(layout.sample_format, 'complex')} samples "
            f"({'planar, ' if layout.is_planar else ''}{channels} a pixel, photometric interpretation {photometric}, "
            f"compression {compression})"
        )
    return layout


def refuse(what: str, advice: str = "save it with 8 or 16 bits a sample, in RGB or grey") -> UndecodableImageError:
    """Return the error for an intact TIFF of an unsupported kind."""
    return UndecodableImageError(f"The TIFF has {what}, which Lightbox does not read; {advice}.")


def _read_photometric(directory: Directory, compression: int, channels: int) -> int:
    """Read the photometric interpretation, or libtiff's default for grey where it is missing."""
    if numbers := directory.numbers(Tag.PhotometricInterpretation):
        return numbers[0]
    if compression == OLD_JPEG:
        return YCBCR
    if channels != 1:
        raise refuse("no photometric interpretation")
    return WHITE_IS_ZERO if compression in _CCITT else BLACK_IS_ZERO


def _count_colours(directory: Directory, photometric: int, compression: int, channels: int) -> int:
    """Return the number of colour samples of a pixel."""
    if photometric in _SENSOR_DATA:
        raise refuse("a camera's raw sensor data", "develop it to JPEG, PNG or TIFF")
    colours = _COLOURS.get(photometric)
    if colours is None or channels < colours:
        raise refuse(f"{channels} sample(s) a pixel of photometric interpretation {photometric}")
    if photometric == SEPARATED and directory.number(_INK_SET, _CMYK) != _CMYK:
        raise refuse("inks other than CMYK", "save it as RGB or CMYK")
    subsampling = directory.numbers(_SUBSAMPLING, _DEFAULT_SUBSAMPLING)
    if photometric == YCBCR and compression == UNCOMPRESSED and set(subsampling) != {1}:
        raise refuse("uncompressed YCbCr with fewer colour samples than pixels", "save it as RGB")
    return colours
