"""`POST /v1/preview`: a picture of what a model would see of an image."""

from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from bento_service.http.requests.disconnect import CancelOnDisconnect
from bento_service.http.requests.parameters import Query, take_none
from bento_service.http.requests.upload import read_image
from bento_service.http.responses.openapi import describe_image_body, describe_problems
from bento_service.http.routes.classify import IMAGE_PROBLEMS
from bento_service.http.state import get_state
from lightbox_client.preview import PREVIEW_HEADERS

_PROBLEMS = tuple(
    code for code in IMAGE_PROBLEMS if code not in {"unknown_model", "inference_failed", "deadline_exceeded"}
)
_ANSWER: Final[dict[str, Any]] = {
    "description": "The picture, RGB with 8 bits.",
    "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    "headers": {
        name: {"description": description, "schema": {"type": kind}}
        for name, kind, description in (
            (PREVIEW_HEADERS.format, "string", "The image's format, by its bytes."),
            (PREVIEW_HEADERS.width, "integer", "The image's own width, in pixels."),
            (PREVIEW_HEADERS.height, "integer", "The image's own height, in pixels."),
            (PREVIEW_HEADERS.warnings, "string", "The `warnings` of its classification, separated by commas."),
        )
    },
}


class _PngResponse(Response):
    media_type = "image/png"


router = APIRouter(tags=["classify"], dependencies=[Depends(take_none)])


@router.post(
    "/v1/preview",
    summary="Show what the models see of an image",
    response_class=_PngResponse,
    responses={**describe_problems(*_PROBLEMS), 200: _ANSWER},
    openapi_extra=describe_image_body(Query),
)
async def preview(request: Request) -> Response:
    """Send an image as for `/v1/classify`; the answer is the picture that it is decoded to, as PNG.

    The first frame, upright, over white, with 8 bits, scaled down to 640 pixels on its long side. Models see the
    middle of it: their cards say how much. It lets interactive images go first, and leaves no receipt.
    """
    state = get_state(request)
    with state.classifier.open_preview() as admitted, state.budget.lease() as lease:
        encoded, fields = await read_image(request, state.settings, lease)
        # The call has no parameters, so this refuses every further field of the form.
        Query().with_fields(fields)
        async with CancelOnDisconnect(request.scope):
            drawn = await admitted.draw(encoded)
    headers = {
        PREVIEW_HEADERS.format: drawn.info.format,
        PREVIEW_HEADERS.width: str(drawn.info.width_px),
        PREVIEW_HEADERS.height: str(drawn.info.height_px),
        PREVIEW_HEADERS.warnings: ", ".join(drawn.warnings),
    }
    return _PngResponse(drawn.png, headers=headers)
