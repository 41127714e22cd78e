"""The answer of `POST /v1/preview`: a PNG, and headers that describe the image as it was sent."""

from typing import NamedTuple

import requests
from pydantic import ValidationError

from lightbox_client.contract import ImageInfo, WireModel
from lightbox_client.transport import unexpected


class PreviewHeaders(NamedTuple):
    """The names of the headers."""

    format: str = "X-Image-Format"
    width: str = "X-Image-Width"
    height: str = "X-Image-Height"
    warnings: str = "X-Image-Warnings"


PREVIEW_HEADERS = PreviewHeaders()


class Preview(WireModel):
    """The decoded image as a PNG of at most 640 px a side, and the image as it was sent."""

    png: bytes
    image: ImageInfo
    warnings: list[str]


def read_preview(response: requests.Response) -> Preview:
    """Read an answer; raises `UnexpectedAnswerError` where it is not a preview."""
    headers = response.headers
    try:
        image = ImageInfo.model_validate(
            {name: headers[getattr(PREVIEW_HEADERS, name)] for name in ("format", "width", "height")}
        )
    except (KeyError, ValidationError) as error:
        raise unexpected(response, "which is no preview of Lightbox") from error
    warnings = [name.strip() for name in headers.get(PREVIEW_HEADERS.warnings, "").split(",") if name.strip()]
    return Preview(png=response.content, image=image, warnings=warnings)
