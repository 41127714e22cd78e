"""Pictures of the model's input, drawn from the service's preview of an image."""

import io
import math
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from dashboard.charts.palette import SKY

DEFAULT_CROP_FRACTION = 0.875
"""timm's default (timm/data/constants.py), for cards that name none."""
OVERVIEW_PX = (640, 440)
MAX_ENLARGEMENT = 4.0
OUTSIDE_BRIGHTNESS = 0.45


@dataclass(frozen=True, slots=True)
class Views:
    """Two encoded images: the whole one with the crop marked, and the model's input at its real size.

    `model_input` is None where the preview has fewer pixels in the crop than the model got, as of a very long image.
    """

    overview: bytes
    model_input: bytes | None


def draw_views(
    png: bytes, *, original_px: tuple[int, int], width_px: int, height_px: int, crop_fraction: float
) -> Views:
    """Draw both views.

    Args:
        png: The service's preview.
        original_px: Width and height of the image that it is a preview of.
        width_px: Width of the model's input.
        height_px: Height of the model's input.
        crop_fraction: Share of the resized image's short side that the crop keeps.
    """
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        image.load()
    box = crop_box(image.width, image.height, width_px=width_px, height_px=height_px, crop_fraction=crop_fraction)
    is_whole = image.size == original_px or min(box[2] - box[0], box[3] - box[1]) >= min(width_px, height_px)
    model_input = image.resize((width_px, height_px), Image.Resampling.BICUBIC, box=box) if is_whole else None
    return Views(overview=_encode(_overview(image, box)), model_input=_encode(model_input) if model_input else None)


def draw_thumbnail(encoded: bytes, *, width_px: int, height_px: int) -> bytes:
    """Crop and resize a sample photograph to a small rectangle."""
    with Image.open(io.BytesIO(encoded)) as image:
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


def _overview(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """Draw the whole image at the page's size, darkened outside the crop."""
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
