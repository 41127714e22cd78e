"""The way from encoded bytes to a model's input: sniff, limits, decode, colour, orientation, resize."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from bento_service.domain.models import InputRecipe, Interpolation
from bento_service.domain.requests import ImageInfo, PreparedImage
from bento_service.errors import ImageTooLargeError, MissingImageError, UndecodableImageError
from bento_service.images.colour import to_rgb_or_grey
from bento_service.images.formats import ImageFormat, sniff
from bento_service.images.geometry import Geometry, plan_geometry
from bento_service.images.intake_warning import IntakeWarning
from bento_service.images.jpeg import check_jpeg_header, decode_plain_jpeg
from bento_service.images.jpeg_scans import check_jpeg_scans
from bento_service.images.metadata import check_gif_extensions, drop_metadata
from bento_service.images.orientation import BY_EXIF, UPRIGHT, Orientation
from bento_service.images.png_chunks import check_png_chunks
from bento_service.images.reader import open_header, read_layout, read_orientation, reporting_damage
from bento_service.images.resize import resize_and_crop
from bento_service.images.tiff import open_tiff


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """What is refused unread: more encoded bytes, or more pixels by the header, than these."""

    max_bytes: int
    max_pixels: int


def prepare(
    encoded: bytes, recipe: InputRecipe, limits: IntakeLimits, *, min_oversampling: int | None = None
) -> PreparedImage:
    """Turn an encoded image into a model's input, in the calling thread. Safe to call from several at once.

    Decoding equals Pillow's to the bit; the resize is timm's evaluation transform but for rounding (see
    `resize.resize_and_crop`), within the parity gate.

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

    def plan(width_px: int, height_px: int) -> Geometry:
        return plan_geometry(width_px, height_px, recipe)

    return _prepare(encoded, limits, plan, recipe.interpolation, min_oversampling)


def prepare_whole(encoded: bytes, limits: IntakeLimits, *, max_side_px: int) -> PreparedImage:
    """Turn an encoded image into pixels as `prepare` does, all of it, scaled down to `max_side_px` on the long side.

    Raises as `prepare`.
    """

    def plan(width_px: int, height_px: int) -> Geometry:
        scale = min(1.0, max_side_px / max(width_px, height_px))
        scaled = max(1, round(width_px * scale)), max(1, round(height_px * scale))
        return Geometry(*scaled, 0, 0, *scaled)

    return _prepare(encoded, limits, plan, "bicubic", None)


def _prepare(
    encoded: bytes,
    limits: IntakeLimits,
    plan: Callable[[int, int], Geometry],
    interpolation: Interpolation,
    min_oversampling: int | None,
) -> PreparedImage:
    _check_bytes(encoded, limits)
    image_format = sniff(encoded)
    with reporting_damage(image_format):
        if image_format is ImageFormat.TIFF:
            picture = _decode_tiff(encoded, plan, limits.max_pixels)
        else:
            source = _open(encoded, image_format, limits.max_pixels)
            picture = _decode(source, image_format, plan, min_oversampling)
        pixels_hwc = resize_and_crop(picture.stored, picture.geometry, interpolation, picture.orientation)
    return PreparedImage(
        pixels_hwc=pixels_hwc, info=picture.info, warnings=tuple(warning.value for warning in picture.warnings)
    )


def _check_bytes(encoded: bytes, limits: IntakeLimits) -> None:
    if not encoded:
        raise MissingImageError("The image is empty: 0 bytes; send an encoded image.")
    if len(encoded) > limits.max_bytes:
        raise ImageTooLargeError(
            f"The image has {len(encoded):,} bytes; {limits.max_bytes:,} are allowed; send a smaller one.",
            bytes=len(encoded),
            max_bytes=limits.max_bytes,
        )


@dataclass(frozen=True, slots=True)
class _Source:
    """An opened file, whose pixels may still be encoded."""

    encoded: bytes
    header: ImageFile
    is_metadata_ignored: bool = False


def _open(encoded: bytes, image_format: ImageFormat, max_pixels: int) -> _Source:
    """Open a file; where its metadata stop the decoder, open a copy without them."""
    try:
        return _Source(encoded, _read_header(encoded, image_format, max_pixels))
    except UndecodableImageError:
        bare = drop_metadata(encoded, image_format)
        if bare is None:
            raise
    header = _read_header(bare.encoded, image_format, max_pixels)
    header.info.update(bare.info)
    return _Source(bare.encoded, header, is_metadata_ignored=True)


def _read_header(encoded: bytes, image_format: ImageFormat, max_pixels: int) -> ImageFile:
    """Read all of a file that metadata may stop the decoder in."""
    if image_format is ImageFormat.GIF:
        check_gif_extensions(encoded)
    header = open_header(encoded, image_format, max_pixels)
    with reporting_damage(image_format):
        if image_format is ImageFormat.JPEG:
            check_jpeg_header(encoded)
        elif image_format is ImageFormat.PNG:
            check_png_chunks(encoded)
            header.load()  # a PNG's metadata may follow its pixels
        elif isinstance(header, GifImageFile):
            header.is_animated  # noqa: B018 - walks to the second frame, past comments and extensions
    return header


@dataclass(frozen=True, slots=True)
class _Picture:
    """A decoded image that is not yet upright, perhaps smaller than its `info` says, and how to cut its input out."""

    stored: Image.Image
    orientation: Orientation
    geometry: Geometry
    info: ImageInfo
    warnings: tuple[IntakeWarning, ...]


def _decode(
    source: _Source,
    image_format: ImageFormat,
    plan: Callable[[int, int], Geometry],
    min_oversampling: int | None,
) -> _Picture:
    header = source.header
    warnings: list[IntakeWarning] = []
    if getattr(header, "is_animated", False):
        warnings.append(IntakeWarning.FIRST_FRAME_USED)
    if header.info.get("icc_profile"):
        warnings.append(IntakeWarning.ICC_PROFILE_IGNORED)
    declared = read_orientation(header)
    if source.is_metadata_ignored or declared is None:
        warnings.append(IntakeWarning.METADATA_IGNORED)
    orientation = BY_EXIF[declared or 1]
    info = _describe(image_format, header.size, orientation)
    geometry = plan(info.width_px, info.height_px)

    stored: Image.Image | None = None
    if isinstance(header, JpegImageFile):
        check_jpeg_scans(source.encoded, header)
        stored, remarks = decode_plain_jpeg(
            source.encoded, header, orientation.find_stored(geometry), min_oversampling=min_oversampling
        )
        warnings.extend(remarks)
    if stored is None:
        header.load()
        stored, conversions = to_rgb_or_grey(header, read_layout(header, source.encoded))
        warnings.extend(conversions)
    if orientation is not UPRIGHT:
        warnings.append(IntakeWarning.EXIF_ORIENTATION_APPLIED)
    return _Picture(stored, orientation, geometry, info, tuple(warnings))


def _decode_tiff(encoded: bytes, plan: Callable[[int, int], Geometry], max_pixels: int) -> _Picture:
    tiff = open_tiff(encoded, max_pixels)
    orientation = BY_EXIF[tiff.orientation]
    image, layout, remarks = tiff.load(max_pixels)
    stored, conversions = to_rgb_or_grey(image, layout)
    warnings = [*tiff.warnings, *remarks, *conversions]
    if orientation is not UPRIGHT:
        warnings.append(IntakeWarning.EXIF_ORIENTATION_APPLIED)
    info = _describe(ImageFormat.TIFF, tiff.size, orientation)
    return _Picture(stored, orientation, plan(info.width_px, info.height_px), info, tuple(warnings))


def _describe(image_format: ImageFormat, stored: tuple[int, int], orientation: Orientation) -> ImageInfo:
    return ImageInfo(image_format.value, *(stored[::-1] if orientation.is_transposed else stored))
