"""Encoded bytes to a model's input: sniff, check limits, decode, convert colours, resize and turn."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from bento_service.domain.models import InputRecipe, Interpolation
from bento_service.domain.requests import ImageInfo, ImageWarning, PreprocessedImage, Preview
from bento_service.errors import ImageTooLargeError, MissingImageError, UndecodableImageError
from bento_service.images.colour import to_grey, to_rgb_or_grey
from bento_service.images.formats import ImageFormat, sniff
from bento_service.images.geometry import BY_EXIF, UPRIGHT, Axis, Geometry, Orientation, plan_geometry
from bento_service.images.jpeg import check_icc_profile, check_scans, choose_scale, decode_jpeg
from bento_service.images.metadata_repair import check_gif_extensions, check_png_chunks, drop_metadata
from bento_service.images.pillow_reader import open_image, read_orientation, read_sample_bits, reporting_damage
from bento_service.images.resize import resize_and_crop
from bento_service.images.tiff import decode_tiff

MAX_PREVIEW_PX = 640
"""Longest side of a preview, in pixels."""
_FASTEST = 1
"""zlib's level: a photograph of 640 px takes 12 ms and 600 kB, and at most half as much more of either otherwise."""
Plan = Callable[[int, int], Geometry]
"""From the upright width and height in pixels to the resize and crop."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The most encoded bytes, and the most pixels by the file's header, that are decoded."""

    max_bytes: int
    max_pixels: int


def preprocess(
    encoded: bytes,
    recipe: InputRecipe,
    limits: ImageLimits,
    *,
    min_oversampling: int | None = None,
) -> PreprocessedImage:
    """Turn an encoded image into a model's input, in the calling thread. Thread-safe.

    Decoding equals Pillow's to the bit. The resize is timm's evaluation transform but for rounding (see
    `resize.resize_and_crop`), within the parity gate. Grey is made before the resize.

    Args:
        encoded: The file.
        recipe: The model's input recipe.
        limits: The largest image allowed.
        min_oversampling: Scale large JPEGs while decoding as long as this many times the resized size remain: faster,
            not exact (see `jpeg.OPT_IN_OVERSAMPLING`). None always decodes in full, and so do recipes that take
            single pixels: of `nearest`, and those that are not antialiased.

    Raises:
        MissingImageError: There are no bytes.
        ImageTooLargeError: There are more than `limits.max_bytes`.
        UnsupportedFormatError: Lightbox does not read the format.
        TooManyPixelsError: The header declares more than `limits.max_pixels`; nothing was decoded.
        UndecodableImageError: The bytes are truncated or corrupt.
    """

    def plan(width_px: int, height_px: int) -> Geometry:
        return plan_geometry(width_px, height_px, recipe)

    return _preprocess(
        encoded,
        limits,
        plan,
        interpolation=recipe.interpolation,
        channel_count=recipe.channel_count,
        fill=recipe.pad_value,
        is_antialiased=recipe.is_antialiased,
        min_oversampling=min_oversampling if recipe.is_antialiased and recipe.interpolation != "nearest" else None,
    )


def draw_preview(encoded: bytes, limits: ImageLimits) -> Preview:
    """Decode an image as `preprocess` does and encode the whole of it as a PNG; raises as `preprocess`."""
    shown = draw_upright(encoded, limits, MAX_PREVIEW_PX)
    return Preview(encode_png(shown.pixels_hwc), shown.info, shown.warnings)


def draw_upright(encoded: bytes, limits: ImageLimits, max_px: int) -> PreprocessedImage:
    """Decode an image as `preprocess` does, and reduce the whole of it to at most `max_px` a side.

    Raises as `preprocess`.
    """

    def plan(width_px: int, height_px: int) -> Geometry:
        scale = min(1.0, max_px / max(width_px, height_px))
        scaled = max(1, round(width_px * scale)), max(1, round(height_px * scale))
        return Geometry(*(Axis(side_px, 0, side_px) for side_px in scaled))

    return _preprocess(encoded, limits, plan, interpolation="bicubic")


def encode_png(pixels_hwc: NDArray[np.uint8]) -> bytes:
    """Encode RGB pixels, shape (height, width, 3), as fast as PNG can be."""
    png = io.BytesIO()
    Image.fromarray(pixels_hwc).save(png, "PNG", compress_level=_FASTEST)
    return png.getvalue()


def _preprocess(
    encoded: bytes,
    limits: ImageLimits,
    plan: Plan,
    *,
    interpolation: Interpolation,
    channel_count: int = 3,
    fill: int = 0,
    is_antialiased: bool = True,
    min_oversampling: int | None = None,
) -> PreprocessedImage:
    if not encoded:
        raise MissingImageError("The image is empty: 0 bytes; send an encoded image.")
    if len(encoded) > limits.max_bytes:
        raise ImageTooLargeError(
            f"The image has {len(encoded):,} bytes; {limits.max_bytes:,} are allowed; send a smaller one.",
            bytes=len(encoded),
            max_bytes=limits.max_bytes,
        )
    image_format = sniff(encoded)
    with reporting_damage(image_format):
        if image_format is ImageFormat.TIFF:
            image, declared, tiff_warnings = decode_tiff(encoded, limits.max_pixels)
            decoded = _Decoded(image, image.size, BY_EXIF[declared], tiff_warnings)
        else:
            decoded = _decode(encoded, image_format, limits.max_pixels, plan, min_oversampling)
        size, image = decoded.orientation.turn_size(decoded.size), decoded.image
        if channel_count == 1:
            image = to_grey(image)
        pixels_hwc = resize_and_crop(
            image,
            plan(*size),
            interpolation,
            decoded.orientation,
            channel_count=channel_count,
            fill=fill,
            is_antialiased=is_antialiased,
        )
    if decoded.orientation is not UPRIGHT:
        decoded.warnings.append(ImageWarning.EXIF_ORIENTATION_APPLIED)
    unneeded = ImageWarning.GREYSCALE_CONVERTED if channel_count == 1 else None
    warnings = tuple(warning.value for warning in decoded.warnings if warning is not unneeded)
    return PreprocessedImage(pixels_hwc, ImageInfo(image_format.value, *size), warnings)


def _open(encoded: bytes, image_format: ImageFormat, max_pixels: int) -> tuple[bytes, ImageFile, bool]:
    """Open a file; where its metadata stop the decoder, open a copy without them.

    Returns:
        The file or its copy, the same opened, and whether it is the copy.
    """
    try:
        return encoded, _open_checked(encoded, image_format, max_pixels), False
    except UndecodableImageError:
        bare = drop_metadata(encoded, image_format)
        if bare is None:
            raise
    image = _open_checked(bare.encoded, image_format, max_pixels)
    image.info.update(bare.info)
    return bare.encoded, image, True


def _open_checked(encoded: bytes, image_format: ImageFormat, max_pixels: int) -> ImageFile:
    """Open a file and read every part of it in which damaged metadata can stop the decoder."""
    with reporting_damage(image_format):
        if image_format is ImageFormat.GIF:
            check_gif_extensions(encoded)
        image = open_image(encoded, image_format, max_pixels)
        if image_format is ImageFormat.JPEG:
            check_icc_profile(encoded)
        elif image_format is ImageFormat.PNG:
            check_png_chunks(encoded)
            image.load()  # a PNG's metadata may follow its pixels
        elif isinstance(image, GifImageFile):
            image.is_animated  # noqa: B018 - walks to the second frame, past comments and extensions
    return image


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A decoded image, not yet upright. `size` is its stored width and height; a scaled decode is smaller."""

    image: Image.Image
    size: tuple[int, int]
    orientation: Orientation
    warnings: list[ImageWarning]


def _decode(
    encoded: bytes, image_format: ImageFormat, max_pixels: int, plan: Plan, min_oversampling: int | None
) -> _Decoded:
    encoded, image, is_metadata_ignored = _open(encoded, image_format, max_pixels)
    warnings: list[ImageWarning] = []
    if getattr(image, "is_animated", False):
        warnings.append(ImageWarning.FIRST_FRAME_USED)
    if image.info.get("icc_profile"):
        warnings.append(ImageWarning.ICC_PROFILE_IGNORED)
    declared = read_orientation(image)
    if is_metadata_ignored or declared is None:
        warnings.append(ImageWarning.METADATA_IGNORED)
    orientation = BY_EXIF[declared or 1]
    size = image.size
    decoded: Image.Image | None = None
    if isinstance(image, JpegImageFile):
        check_scans(encoded, image)
        scale = 1
        if min_oversampling is not None:
            across, down = orientation.find_stored(plan(*orientation.turn_size(size)))
            scale = choose_scale(size, (across.resized_px, down.resized_px), min_oversampling)
        decoded, conversions = decode_jpeg(encoded, size, scale)
        warnings += conversions
    if decoded is None:
        image.load()
        decoded, conversions = to_rgb_or_grey(image, read_sample_bits(image, encoded))
        warnings += conversions
    return _Decoded(decoded, size, orientation, warnings)
