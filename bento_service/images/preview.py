"""A picture of what the intake made of an image, for people to look at."""

import io

from PIL import Image

from bento_service.domain.requests import Preview
from bento_service.images.intake import IntakeLimits, prepare_whole

MAX_SIDE_PX = 640
"""Longest side of a preview: what a page shows, and more than models take."""
_FASTEST = 1
"""zlib's level: a photograph of 640 px takes 12 ms and 600 kB, and at most half as much more of either otherwise."""


def draw_preview(encoded: bytes, limits: IntakeLimits) -> Preview:
    """Decode an image as `images.intake.prepare` does and draw the whole of it; raises as that does."""
    prepared = prepare_whole(encoded, limits, max_side_px=MAX_SIDE_PX)
    png = io.BytesIO()
    Image.fromarray(prepared.pixels_hwc).save(png, "PNG", compress_level=_FASTEST)
    return Preview(png.getvalue(), prepared.info, prepared.warnings)
