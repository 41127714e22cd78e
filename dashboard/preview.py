"""Pictures of what the model saw, made with Pillow from the same bytes that the service got.

The service does not send its pixels back, so this repeats its steps: first frame, orientation, transparency over white,
short side resized to size / crop fraction, centre cropped (timm's evaluation transform).
"""

import io
import math
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from dashboard.charts.palette import SKY

DEFAULT_CROP_FRACTION = 0.875
"""timm's default (timm/data/constants.py), for cards that name none."""
MAX_PIXELS = 50_000_000
"""As the service's own limit by default: nothing larger is decoded here either."""
OVERVIEW_PX = (640, 440)
MAX_ENLARGEMENT = 4.0
OUTSIDE_BRIGHTNESS = 0.45
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


@dataclass(frozen=True, slots=True)
class Views:
    """Two encoded images: the whole one with the crop marked, and the model's input at its real size."""

    overview: bytes
    model_input: bytes


def draw_views(encoded: bytes, *, width_px: int, height_px: int, crop_fraction: float) -> Views | None:
    """Draw both views, or return None where Pillow cannot or should not decode the image.

    Args:
        encoded: An image of one of `FORMATS`.
        width_px: Width of the model's input.
        height_px: Height of the model's input.
        crop_fraction: Share of the resized image's short side that the crop keeps.
    """
    image = _open(encoded)
    if image is None:
        return None
    box = crop_box(image.width, image.height, width_px=width_px, height_px=height_px, crop_fraction=crop_fraction)
    model_input = image.resize((width_px, height_px), Image.Resampling.BICUBIC, box=box)
    return Views(overview=_encode(_overview(image, box)), model_input=_encode(model_input))


def draw_thumbnail(encoded: bytes, *, width_px: int, height_px: int) -> bytes:
    """Fit an image that Pillow can read into a small rectangle, its edges cut off."""
    with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
        return _encode(ImageOps.fit(image.convert("RGB"), (width_px, height_px), Image.Resampling.LANCZOS))


def crop_box(
    image_width_px: int, image_height_px: int, *, width_px: int, height_px: int, crop_fraction: float
) -> tuple[float, float, float, float]:
    """Return the part of an image that reaches the model: left, top, right, bottom, in the image's own pixels.

    Where the crop is larger than the resized image, as in a very long one, it is cut to what there is.
    """
    short_side_px = math.floor(min(width_px, height_px) / crop_fraction)
    scale = min(image_width_px, image_height_px) / short_side_px
    crop_width, crop_height = min(width_px * scale, image_width_px), min(height_px * scale, image_height_px)
    left, top = (image_width_px - crop_width) / 2, (image_height_px - crop_height) / 2
    return left, top, left + crop_width, top + crop_height


def _open(encoded: bytes) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            return _on_white(ImageOps.exif_transpose(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        # The service reads some files that Pillow does not; the answer is shown without a picture then.
        return None


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _overview(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """Draw the whole image, fit for the page, darker where the model did not look."""
    scale = min(MAX_ENLARGEMENT, OVERVIEW_PX[0] / image.width, OVERVIEW_PX[1] / image.height)
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    left, top, right, bottom = (round(edge * scale) for edge in box)
    shaded = ImageEnhance.Brightness(small).enhance(OUTSIDE_BRIGHTNESS)
    shaded.paste(small.crop((left, top, right, bottom)), (left, top))
    ImageDraw.Draw(shaded).rectangle((left, top, right - 1, bottom - 1), outline=SKY, width=2)
    return shaded


def _encode(image: Image.Image) -> bytes:
    target = io.BytesIO()
    image.save(target, format="PNG", compress_level=1)
    return target.getvalue()
