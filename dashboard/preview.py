"""Pictures of the model's input, drawn from the service's preview of an image."""

import io
import math
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from dashboard.charts.palette import SKY
from lightbox_client.contract import ModelCard

DEFAULT_CROP_FRACTION = 0.875
"""timm's default (timm/data/constants.py), for cards that name none."""
SMALL_PX = 112
"""Inputs below half of this size are enlarged, pixel by pixel, so that one can see what is in them."""
OVERVIEW_PX = (640, 440)
MAX_ENLARGEMENT = 4.0
OUTSIDE_BRIGHTNESS = 0.45
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Views:
    """Two encoded images: the whole one with the crop marked, and the model's input, at its real size unless small.

    `model_input` is None where the preview has fewer pixels in the crop than the model got, as of a very long image.
    """

    overview: bytes
    model_input: bytes | None


@dataclass(frozen=True, slots=True)
class ModelInput:
    """A model's input, as its card describes it."""

    width_px: int
    height_px: int
    crop_fraction: float = DEFAULT_CROP_FRACTION
    fit: str = "crop"
    interpolation: str = "bicubic"
    is_grey: bool = False
    pad_value: int = 0
    is_antialiased: bool = True

    @classmethod
    def of(cls, card: ModelCard) -> "ModelInput":
        """Return the input of a served model."""
        return cls(
            card.input_size.width,
            card.input_size.height,
            card.crop_fraction or DEFAULT_CROP_FRACTION,
            card.fit,
            card.interpolation or "bicubic",
            card.channels == "grey",
            card.pad_value,
            card.is_antialiased,
        )


def draw_views(png: bytes, model_input: ModelInput, *, original_px: tuple[int, int]) -> Views:
    """Draw both views.

    Args:
        png: The service's preview.
        model_input: The input of the model that answered.
        original_px: Width and height of the image that it is a preview of.
    """
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        image.load()
    box = crop_box(image.width, image.height, model_input)
    width_px, height_px = _resized_size(image, model_input)
    is_whole = image.size == original_px or (box[2] - box[0] >= width_px and box[3] - box[1] >= height_px)
    overview = _overview(image, box if model_input.fit == "crop" else None)
    seen = _draw_input(image, box, (width_px, height_px), model_input) if is_whole else None
    return Views(overview=encode(overview), model_input=encode(seen) if seen else None)


def draw_thumbnail(encoded: bytes, *, width_px: int, height_px: int) -> bytes:
    """Crop and resize a sample photograph to a small rectangle."""
    with Image.open(io.BytesIO(encoded)) as image:
        return encode(ImageOps.fit(image.convert("RGB"), (width_px, height_px), Image.Resampling.LANCZOS))


def shade_outside(image: Image.Image, frame: tuple[int, int, int, int]) -> Image.Image:
    """Darken an image outside a frame, which is given as left, top, right, bottom in pixels, and draw the frame."""
    left, top, right, bottom = frame
    shaded = ImageEnhance.Brightness(image).enhance(OUTSIDE_BRIGHTNESS)
    shaded.paste(image.crop(frame), (left, top))
    ImageDraw.Draw(shaded).rectangle((left, top, right - 1, bottom - 1), outline=SKY, width=2)
    return shaded


def encode(image: Image.Image) -> bytes:
    """Return an image as a PNG that is quick to make."""
    target = io.BytesIO()
    image.save(target, format="PNG", compress_level=1)
    return target.getvalue()


def crop_box(image_width_px: int, image_height_px: int, model_input: ModelInput) -> Box:
    """Return the part of an image that reaches the model: left, top, right, bottom, in the image's own pixels.

    Where the crop is larger than the resized image, as in a very long one, it is cut to what there is.
    """
    if model_input.fit != "crop":
        return 0, 0, image_width_px, image_height_px
    width_px, height_px = model_input.width_px, model_input.height_px
    scale = min(
        image_width_px / math.floor(width_px / model_input.crop_fraction),
        image_height_px / math.floor(height_px / model_input.crop_fraction),
    )
    crop_width, crop_height = min(width_px * scale, image_width_px), min(height_px * scale, image_height_px)
    left, top = (image_width_px - crop_width) / 2, (image_height_px - crop_height) / 2
    return left, top, left + crop_width, top + crop_height


def _resized_size(image: Image.Image, model_input: ModelInput) -> tuple[int, int]:
    """Return the width and height that the visible part has in the model's input."""
    if model_input.fit != "letterbox":
        return model_input.width_px, model_input.height_px
    ratio = max(image.width / model_input.width_px, image.height / model_input.height_px)
    return max(1, round(image.width / ratio)), max(1, round(image.height / ratio))


def _draw_input(image: Image.Image, box: Box, size: tuple[int, int], model_input: ModelInput) -> Image.Image:
    """Draw what the model sees, `size` of it from the image and the rest as border; enlarged where it is small."""
    mode = "L" if model_input.is_grey else "RGB"
    resized = _resize(image.convert(mode), box, size, model_input)
    grey = model_input.pad_value
    seen = Image.new(mode, (model_input.width_px, model_input.height_px), grey if mode == "L" else (grey,) * 3)
    seen.paste(resized, ((seen.width - size[0]) // 2, (seen.height - size[1]) // 2))
    factor = max(1, SMALL_PX // max(seen.size))
    return seen.resize((seen.width * factor, seen.height * factor), Image.Resampling.NEAREST)


def _resize(image: Image.Image, box: Box, size: tuple[int, int], model_input: ModelInput) -> Image.Image:
    if model_input.is_antialiased:
        return image.resize(size, Image.Resampling[model_input.interpolation.upper()], box=box)
    # Pillow's transforms count a fixed number of pixels, as OpenCV's resize does; they have no Lanczos.
    filters = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}
    left, top, right, bottom = box
    affine = ((right - left) / size[0], 0, left, 0, (bottom - top) / size[1], top)
    resample = filters.get(model_input.interpolation, Image.Resampling.BICUBIC)
    return image.transform(size, Image.Transform.AFFINE, affine, resample)


def _overview(image: Image.Image, box: Box | None) -> Image.Image:
    """Draw the whole image at the page's size, darkened outside the crop if there is one."""
    scale = min(MAX_ENLARGEMENT, OVERVIEW_PX[0] / image.width, OVERVIEW_PX[1] / image.height)
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    if box is None:
        return small
    left, top, right, bottom = (round(edge * scale) for edge in box)
    return shade_outside(small, (left, top, right, bottom))
