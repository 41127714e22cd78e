"""Check and open HEIC (HEVC in HEIF, by libheif) and AVIF (AV1 in HEIF, by libavif).

Both decoders apply orientation, crop and grids from the file's item properties. EXIF's orientation is ignored, as HEIF
requires (ISO/IEC 23008-12, 6.5) and as browsers and `heif-convert` do.
"""

import io
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import pi_heif
from PIL import AvifImagePlugin
from PIL.ImageFile import ImageFile

from bento_service.errors import TooManyPixelsError
from bento_service.images.av1 import MAX_UNITS, read_frame_sizes
from bento_service.images.formats import ImageFormat
from bento_service.images.header import check_pixels
from bento_service.images.isobmff import BoxError, Item, ItemFile, read_items

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

BIT_DEPTH: Final = "bit_depth"
DECODED_SHARE = 2
"""The decoded pixels of one item, all tiles together, may be this many times the pixels allowed.

A grid is larger than its picture: by 3 % at 48 megapixels with tiles of 512 x 512, by more in small pictures.
"""
_TILE_PIXELS = 512 * 512
"""A phone's tile, which is always allowed: encoders pad small pictures to it."""
_MAX_DEPTH = 4
"""Deepest nesting of items within items; a grid of coded pictures has 2 levels."""
_METADATA: Final = frozenset({b"Exif", b"mime"})
_AV1: Final = b"av01"
_CODECS: Final = {ImageFormat.HEIC: b"hvc1", ImageFormat.AVIF: _AV1}
_AV1_HIGH_BIT_DEPTH = 0x40


class HeicFile(ImageFile):
    """A HEIC's primary image. `is_animated` means a track or several images."""

    format = "HEIC"
    is_animated = False

    def _open(self) -> None:
        # With these options pi_heif 1.4.0 does not rescale the samples. Its code for that trusts the container's bit
        # depth and writes out of bounds where the stream has fewer bits.
        images = pi_heif.open_heif(self.fp, convert_hdr_to_8bit=True, hdr_to_16bit=False, remove_stride=False)
        self._encoded_image = images[images.primary_index]
        self.is_animated = len(images) > 1
        mode: str = self._encoded_image.mode
        self._mode = "I;16" if mode.startswith("I;") else mode
        self._size = self._encoded_image.size
        self.info = {key: self._encoded_image.info.get(key) for key in (BIT_DEPTH, "icc_profile")}
        self.tile = []

    def load(self) -> "PixelAccess | None":
        """Decode in the calling thread.

        Raises:
            ValueError: The stream is damaged, or its samples differ from what the container declares.
        """
        if self._encoded_image is not None:
            image, self._encoded_image = self._encoded_image, None
            samples, stride = image.data, image.stride
            self._size = image.size  # as decoded
            self.load_prepare()
            self.frombytes(samples, "raw", (self.mode, stride))
        return super().load()


def open_heif(encoded: bytes, image_format: ImageFormat, max_pixels: int) -> ImageFile:
    """Open a HEIC or AVIF; the pixels stay encoded until `load`, which decodes in the calling thread.

    Its `info` has the `BIT_DEPTH` of the file; libavif scales to 8 bits. Damaged boxes or headers raise any exception.

    Raises:
        TooManyPixelsError: Decoding needs more than `max_pixels` times `DECODED_SHARE`.
    """
    file = read_items(encoded)
    _check_cost(encoded, file, max_pixels)
    coded = _find_coded(file)
    if coded is not None and coded.kind != _CODECS[image_format]:
        raise BoxError(f"its picture is of the kind {coded.kind!r}; only HEVC and AV1 are read")
    source = io.BytesIO(_hide_metadata(encoded, file))
    # Both libraries take their thread count from a module variable. The decode pool already uses every CPU.
    if image_format is ImageFormat.AVIF:
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        avif = AvifImagePlugin.AvifImageFile(source)
        avif.info[BIT_DEPTH] = 16 if coded is not None and _is_deep_av1(encoded, coded) else 8
        return avif
    pi_heif.options.DECODE_THREADS = 0
    heic = HeicFile(source)
    heic.is_animated |= bool(file.first_samples)
    return heic


def _hide_metadata(encoded: bytes, file: ItemFile) -> bytes:
    """Rename EXIF and XMP items, so that no decoder fails on a damaged one."""
    places = [item.kind_at for item in file.items.values() if item.kind in _METADATA]
    if not places:
        return encoded
    hidden = bytearray(encoded)
    for place in places:
        hidden[place : place + 4] = b"skip"
    return bytes(hidden)


def _check_cost(encoded: bytes, file: ItemFile, max_pixels: int) -> None:
    most = max(DECODED_SHARE * max_pixels, _TILE_PIXELS)
    units = iter(range(MAX_UNITS))
    primary = file.items.get(file.primary_id or 0)
    if primary is None and not file.first_samples:
        raise BoxError("it has no primary image")
    if primary is not None:
        size = _read_size(encoded, primary)
        if size[0] * size[1] > most:
            check_pixels(*size, max_pixels)
        pixels = _count_pixels(encoded, file.items, file.primary_id or 0, units)
        if pixels > most:
            raise TooManyPixelsError(
                f"The image is {size[0]} x {size[1]} pixels and its decoder has to hold {pixels:,} of its parts; "
                f"{max_pixels:,} are allowed; send a smaller one.",
                pixels=pixels,
                max_pixels=max_pixels,
            )
    for start, end in file.first_samples:
        for frame in read_frame_sizes(memoryview(encoded)[start:end], units):
            if frame[0] * frame[1] > most:
                check_pixels(*frame, max_pixels)


def _count_pixels(encoded: bytes, items: Mapping[int, Item], primary_id: int, units: Iterator[int]) -> int:
    """Count the pixels that decoding an item takes: the largest of its own, its parts' and its auxiliary images'.

    Alpha planes are decoded too. Depth and gain maps are counted, though not decoded: they are small.

    Raises:
        BoxError: An item has no size, its data lie beyond the file, or it contains itself, which makes libheif 1.23
            wait for ever.
    """
    counted: dict[int, int] = {}

    def count(item_id: int, depth: int) -> int:
        item = items.get(item_id)
        if item is None or item_id in counted:
            return counted.get(item_id, 0)
        end = max((end for _, end in item.extents), default=0)
        if end > len(encoded):
            raise BoxError(f"its pixels end at byte {end:,} and the file has {len(encoded):,}")
        if depth == 0 and (item.parts or item.auxiliary):
            raise BoxError(f"its image is made of images of images, more than {_MAX_DEPTH} deep")
        frames = [_read_size(encoded, item)]
        if item.kind == _AV1:
            frames += read_frame_sizes(_join(encoded, item), units)
        of_others = (sum(count(other, depth - 1) for other in others) for others in (item.parts, item.auxiliary))
        counted[item_id] = max(*(width_px * height_px for width_px, height_px in frames), *of_others)
        return counted[item_id]

    return count(primary_id, _MAX_DEPTH)


def _read_size(encoded: bytes, item: Item) -> tuple[int, int]:
    for box in item.properties:
        if box.kind == b"ispe":
            width_px, height_px = struct.unpack_from(">II", encoded, box.start + 4)
            return width_px, height_px
    raise BoxError("one of its images has no size")


def _join(encoded: bytes, item: Item) -> memoryview:
    pieces = [memoryview(encoded)[start:end] for start, end in item.extents]
    return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))


def _find_coded(file: ItemFile) -> Item | None:
    """Return the primary item, or its first part where it has parts; None where the file has only a track."""
    item = file.items.get(file.primary_id or 0)
    while item is not None and item.parts:
        item = file.items.get(item.parts[0])
    return item


def _is_deep_av1(encoded: bytes, item: Item) -> bool:
    """Whether its samples have more than 8 bits (AV1 Codec ISO Media File Format Binding, 2.3.3)."""
    configurations = (box for box in item.properties if box.kind == b"av1C" and box.end - box.start >= 4)
    return any(encoded[box.start + 2] & _AV1_HIGH_BIT_DEPTH for box in configurations)
