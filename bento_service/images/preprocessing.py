"""Encoded bytes to a model's input: sniff, check limits, decode, convert colours, resize and turn."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from bento_service.domain.models import InputRecipe, Interpolation
from bento_service.domain.requests import ImageInfo, ImageWarning, PreprocessedImage, Preview
from bento_service.errors import ImageTooLargeError, MissingImageError, UndecodableImageError
from bento_service.images.colour import to_rgb_or_grey
from bento_service.images.formats import ImageFormat, sniff
from bento_service.images.geometry import BY_EXIF, UPRIGHT, Geometry, Orientation, plan_geometry
from bento_service.images.header import ImageHeader
from bento_service.images.jpeg import check_icc_profile, check_scans, decode_jpeg
from bento_service.images.metadata_repair import check_gif_extensions, check_png_chunks, drop_metadata
from bento_service.images.pillow_reader import open_image, read_layout, read_orientation, reporting_damage
from bento_service.images.resize import resize_and_crop
from bento_service.images.tiff import open_tiff
from bento_service.images.tiff_directory import Directory

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
    header: ImageHeader | None = None,
    min_oversampling: int | None = None,
) -> PreprocessedImage:
    """Turn an encoded image into a model's input, in the calling thread. Thread-safe.

    Decoding equals Pillow's to the bit. The resize is timm's evaluation transform but for rounding (see
    `resize.resize_and_crop`), within the parity gate.

    Args:
        encoded: The file.
        recipe: The model's input recipe.
        limits: The largest image allowed.
        header: What `read_header` returned for the same bytes, if the caller has it: it is not read again.
        min_oversampling: Scale large JPEGs while decoding as long as this many times the resized size remain: faster,
            not exact (see `jpeg.OPT_IN_OVERSAMPLING`). None always decodes in full.

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
        encoded, limits, header, plan, interpolation=recipe.interpolation, min_oversampling=min_oversampling
    )


def draw_preview(encoded: bytes, limits: ImageLimits, *, header: ImageHeader | None = None) -> Preview:
    """Decode an image as `preprocess` does and encode the whole of it as a PNG; raises as `preprocess`."""

    def plan(width_px: int, height_px: int) -> Geometry:
        scale = min(1.0, MAX_PREVIEW_PX / max(width_px, height_px))
        scaled = max(1, round(width_px * scale)), max(1, round(height_px * scale))
        return Geometry(*scaled, 0, 0, *scaled)

    prepared = _preprocess(encoded, limits, header, plan, interpolation="bicubic", min_oversampling=None)
    png = io.BytesIO()
    Image.fromarray(prepared.pixels_hwc).save(png, "PNG", compress_level=_FASTEST)
    return Preview(png.getvalue(), prepared.info, prepared.warnings)


def _preprocess(
    encoded: bytes,
    limits: ImageLimits,
    header: ImageHeader | None,
    plan: Plan,
    *,
    interpolation: Interpolation,
    min_oversampling: int | None,
) -> PreprocessedImage:
    _check_bytes(encoded, limits)
    image_format = header.format if header else sniff(encoded)
    with reporting_damage(image_format):
        if image_format is ImageFormat.TIFF:
            decoded = _decode_tiff(encoded, header.tiff if header else None, plan, limits.max_pixels)
        else:
            file = _open(encoded, image_format, limits.max_pixels)
            decoded = _decode(file, image_format, plan, min_oversampling)
        pixels_hwc = resize_and_crop(decoded.stored, decoded.geometry, interpolation, decoded.orientation)
    return PreprocessedImage(
        pixels_hwc=pixels_hwc, info=decoded.info, warnings=tuple(warning.value for warning in decoded.warnings)
    )


def _check_bytes(encoded: bytes, limits: ImageLimits) -> None:
    if not encoded:
        raise MissingImageError("The image is empty: 0 bytes; send an encoded image.")
    if len(encoded) > limits.max_bytes:
        raise ImageTooLargeError(
            f"The image has {len(encoded):,} bytes; {limits.max_bytes:,} are allowed; send a smaller one.",
            bytes=len(encoded),
            max_bytes=limits.max_bytes,
        )


@dataclass(frozen=True, slots=True)
class _OpenFile:
    """A file whose header is read; its pixels may still be encoded."""

    encoded: bytes
    image: ImageFile
    is_metadata_ignored: bool = False


def _open(encoded: bytes, image_format: ImageFormat, max_pixels: int) -> _OpenFile:
    """Open a file; where its metadata stop the decoder, open a copy without them."""
    try:
        return _OpenFile(encoded, _open_checked(encoded, image_format, max_pixels))
    except UndecodableImageError:
        bare = drop_metadata(encoded, image_format)
        if bare is None:
            raise
    image = _open_checked(bare.encoded, image_format, max_pixels)
    image.info.update(bare.info)
    return _OpenFile(bare.encoded, image, is_metadata_ignored=True)


def _open_checked(encoded: bytes, image_format: ImageFormat, max_pixels: int) -> ImageFile:
    """Open a file and read every part of it in which damaged metadata can stop the decoder."""
    if image_format is ImageFormat.GIF:
        check_gif_extensions(encoded)
    image = open_image(encoded, image_format, max_pixels)
    with reporting_damage(image_format):
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
    """A decoded image, not yet upright, and its resize and crop. `stored` may be smaller than `info` says."""

    stored: Image.Image
    orientation: Orientation
    geometry: Geometry
    info: ImageInfo
    warnings: tuple[ImageWarning, ...]


def _decode(file: _OpenFile, image_format: ImageFormat, plan: Plan, min_oversampling: int | None) -> _Decoded:
    image = file.image
    warnings: list[ImageWarning] = []
    if getattr(image, "is_animated", False):
        warnings.append(ImageWarning.FIRST_FRAME_USED)
    if image.info.get("icc_profile"):
        warnings.append(ImageWarning.ICC_PROFILE_IGNORED)
    declared = read_orientation(image)
    if file.is_metadata_ignored or declared is None:
        warnings.append(ImageWarning.METADATA_IGNORED)
    orientation = BY_EXIF[declared or 1]
    info = _describe(image_format, image.size, orientation)
    geometry = plan(info.width_px, info.height_px)

    stored: Image.Image | None = None
    if isinstance(image, JpegImageFile):
        check_scans(file.encoded, image)
        stored, jpeg_warnings = decode_jpeg(
            file.encoded, image.size, orientation.find_stored(geometry), min_oversampling=min_oversampling
        )
        warnings.extend(jpeg_warnings)
    if stored is None:
        image.load()
        stored, conversions = to_rgb_or_grey(image, read_layout(image, file.encoded))
        warnings.extend(conversions)
    if orientation is not UPRIGHT:
        warnings.append(ImageWarning.EXIF_ORIENTATION_APPLIED)
    return _Decoded(stored, orientation, geometry, info, tuple(warnings))


def _decode_tiff(encoded: bytes, directory: Directory | None, plan: Plan, max_pixels: int) -> _Decoded:
    tiff = open_tiff(encoded, max_pixels, directory)
    orientation = BY_EXIF[tiff.orientation]
    image, layout, tiff_warnings = tiff.load(max_pixels)
    stored, conversions = to_rgb_or_grey(image, layout)
    warnings = [*tiff.warnings, *tiff_warnings, *conversions]
    if orientation is not UPRIGHT:
        warnings.append(ImageWarning.EXIF_ORIENTATION_APPLIED)
    info = _describe(ImageFormat.TIFF, tiff.size, orientation)
    return _Decoded(stored, orientation, plan(info.width_px, info.height_px), info, tuple(warnings))


def _describe(image_format: ImageFormat, stored: tuple[int, int], orientation: Orientation) -> ImageInfo:
    return ImageInfo(image_format.value, *(stored[::-1] if orientation.is_transposed else stored))
