"""Small pictures of photographs, for a page that loads nothing."""

import base64
import io
from pathlib import Path

from PIL import Image

from bento_service.errors import LightboxError
from bento_service.images.preprocessing import ImageLimits, draw_preview

SIDE_PX = 200
_LIMITS = ImageLimits(max_bytes=100_000_000, max_pixels=100_000_000)


def draw_thumbnail(path: str) -> str | None:
    """Return a photograph, upright, at most `SIDE_PX` a side, as the data URI of a JPEG; None if it cannot be read."""
    try:
        preview = draw_preview(Path(path).read_bytes(), _LIMITS)
    except (OSError, LightboxError):
        return None
    picture = Image.open(io.BytesIO(preview.png))
    picture.thumbnail((SIDE_PX, SIDE_PX))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
