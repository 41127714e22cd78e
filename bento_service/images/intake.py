"""The way from encoded bytes to a model's input: sniff, limits, decode, colour, orientation, resize."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from PIL import Image
from PIL.Image import Transpose
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from bento_service.domain import ImageInfo, InputRecipe, PreparedImage
from bento_service.errors import ImageTooLargeError, MissingImageError
from bento_service.images.colour import to_rgb_or_grey
from bento_service.images.formats import ImageFormat, sniff
from bento_service.images.intake_warning import IntakeWarning
from bento_service.images.jpeg import decode_plain_jpeg
from bento_service.images.jpeg_scans import check_jpeg_scans
from bento_service.images.png_chunks import check_png_chunks
from bento_service.images.reader import open_header, read_layout, read_orientation, reporting_damage
from bento_service.images.resize import plan_geometry, resize_and_crop

_UPRIGHT = 1
_FIRST_LYING = 5
"""From this orientation on, width and height are swapped."""
_TRANSPOSITIONS: Final[Mapping[int, Transpose]] = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF orientation (CIPA DC-008, tag 274)."""


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """What is refused unread: more encoded bytes, or more pixels by the header, than these."""

    max_bytes: int
    max_pixels: int


def prepare(
    encoded: bytes, recipe: InputRecipe, limits: IntakeLimits, *, min_oversampling: int | None = None
) -> PreparedImage:
    """Turn an encoded image into a model's input. Safe to call from several threads at once.

    Equal to Pillow's decoding and timm's evaluation transform, to the pixel or, for large images, to a rounding step
    (see `resize.MAX_WHOLE_PX`).

    Args:
        encoded: The file.
        recipe: The model's input recipe.
        limits: What to refuse.
        min_oversampling: Scale large JPEGs while decoding as long as this many times the size that the resize aims at
            remain, faster and no longer equal (see `jpeg.OPT_IN_OVERSAMPLING`); None never does.

    Raises:
        MissingImageError: There are no bytes.
        ImageTooLargeError: There are more than `limits.max_bytes`.
        UnsupportedFormatError: They are none of the formats that Lightbox reads.
        TooManyPixelsError: The header declares more than `limits.max_pixels`; nothing was decoded.
        UndecodableImageError: They are truncated or corrupt.
    """
    _check_bytes(encoded, limits)
    image_format = sniff(encoded)
    header = open_header(encoded, image_format, limits.max_pixels)
    with reporting_damage(image_format):
        image, info, warnings = _decode(encoded, header, image_format, recipe, min_oversampling)
        pixels_hwc = resize_and_crop(image, plan_geometry(info.width_px, info.height_px, recipe), recipe)
    return PreparedImage(pixels_hwc=pixels_hwc, info=info, warnings=warnings)


def _check_bytes(encoded: bytes, limits: IntakeLimits) -> None:
    if not encoded:
        raise MissingImageError("The image is empty: 0 bytes; send an encoded image.")
    if len(encoded) > limits.max_bytes:
        raise ImageTooLargeError(
            f"The image has {len(encoded):,} bytes; {limits.max_bytes:,} are allowed; send a smaller one.",
            bytes=len(encoded),
            max_bytes=limits.max_bytes,
        )


def _decode(
    encoded: bytes, header: ImageFile, image_format: ImageFormat, recipe: InputRecipe, min_oversampling: int | None
) -> tuple[Image.Image, ImageInfo, tuple[str, ...]]:
    """Decode to an upright image of mode `RGB`, `RGBX` or `L`, perhaps smaller than its `ImageInfo` says."""
    warnings: list[IntakeWarning] = []
    if getattr(header, "is_animated", False):
        warnings.append(IntakeWarning.FIRST_FRAME_USED)
    if header.info.get("icc_profile"):
        warnings.append(IntakeWarning.ICC_PROFILE_IGNORED)
    layout = read_layout(header, encoded)
    if image_format is ImageFormat.PNG:
        check_png_chunks(encoded)
        header.load()  # before its orientation is read: a PNG's EXIF may follow its pixels
    orientation = read_orientation(header)
    info = ImageInfo(image_format.value, *_show_size(header, image_format, orientation))

    decoded: Image.Image | None = None
    if isinstance(header, JpegImageFile):
        check_jpeg_scans(encoded, first_scan=_tell(header))
        decoded, remarks = decode_plain_jpeg(
            encoded, header, _plan_stored(header, info, recipe), min_oversampling=min_oversampling
        )
        warnings.extend(remarks)
    if decoded is None:
        header.load()
        decoded = header
    image, conversions = to_rgb_or_grey(decoded, layout)
    warnings.extend(conversions)
    if orientation != _UPRIGHT:
        warnings.append(IntakeWarning.EXIF_ORIENTATION_APPLIED)
        if image_format is not ImageFormat.TIFF:  # which Pillow turns as it loads it
            image = image.transpose(_TRANSPOSITIONS[orientation])
    return image, info, tuple(warning.value for warning in warnings)


def _show_size(header: ImageFile, image_format: ImageFormat, orientation: int) -> tuple[int, int]:
    """Width and height as a viewer shows them; Pillow swaps a TIFF's own."""
    width_px, height_px = header.size
    return (
        (height_px, width_px) if orientation >= _FIRST_LYING and image_format is not ImageFormat.TIFF else header.size
    )


def _plan_stored(header: ImageFile, info: ImageInfo, recipe: InputRecipe) -> tuple[int, int]:
    """Width and height that the stored image, not yet turned, will be resized to."""
    geometry = plan_geometry(info.width_px, info.height_px, recipe)
    resized = (geometry.resized_width_px, geometry.resized_height_px)
    return resized if (info.width_px, info.height_px) == header.size else resized[::-1]


def _tell(header: ImageFile) -> int:
    """Where Pillow stopped reading the header."""
    return 0 if header.fp is None else header.fp.tell()
