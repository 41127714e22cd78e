"""One image: `POST /v1/classify`, and BentoML's `POST /classify`."""

import time
from collections.abc import Callable

from fastapi import APIRouter
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from bento_service.http.requests.disconnect import CancelOnDisconnect
from bento_service.http.requests.headers import describe_priority, priority_of, request_id_of
from bento_service.http.requests.parameters import ClassifyQuery, describe_query
from bento_service.http.requests.upload import Fields, read_image
from bento_service.http.responses.openapi import describe_image_body, describe_problems
from bento_service.http.responses.serializers import JsonResponse, to_classification
from bento_service.http.state import AppState, get_state
from bento_service.pipeline.request import ImageRequest
from lightbox_client.contract import Classification

PATH = "/v1/classify"
BENTO_PATH = "/classify"
IMAGE_PROBLEMS = (
    "invalid_parameter",
    "missing_image",
    "unknown_model",
    "receive_timeout",
    "image_too_large",
    "too_many_pixels",
    "unsupported_format",
    "undecodable_image",
    "overloaded",
    "inference_failed",
    "not_ready",
    "draining",
    "deadline_exceeded",
)

router = APIRouter(tags=["classify"])


@router.post(
    PATH,
    summary="Classify one image",
    response_model=Classification,
    responses=describe_problems(*IMAGE_PROBLEMS),
    openapi_extra={
        **describe_image_body(ClassifyQuery),
        "parameters": [*describe_query(ClassifyQuery), describe_priority()],
    },
)
async def classify(request: Request) -> Response:
    """Send the image as the raw body or as the form field `image`; its bytes decide its format.

    The parameters go into the query, or into fields of the form. A request that cannot be answered in time is
    rejected before its body is read, by what its query asks for. Hanging up cancels it. With the header
    `X-Priority: bulk` it lets interactive requests go first.
    """
    return await _answer_image(request)


@router.post(BENTO_PATH, include_in_schema=False)
async def classify_for_bentoml(request: Request) -> Response:
    """Answer BentoML's clients and page as `classify` does; fields of the form may be JSON values."""
    return await _answer_image(request, read_fields=_read_json_fields)


async def _answer_image(request: Request, *, read_fields: Callable[[Fields], Fields] = dict) -> Response:
    """Admit a request's one image by its query, receive it, take the parameters of its form, and classify it.

    `read_fields` turns the form's texts into what a query would hold.
    """
    # `create_app` routes this call past FastAPI, which only describes it; so it reads its query itself.
    query = ClassifyQuery.read(request.scope["query_string"])
    state = get_state(request)
    with admit(state, request, query) as image, state.budget.lease() as lease:
        encoded, fields = await read_image(
            request, state.settings, lease, deadline_ms=query.deadline_ms, text_fields=ClassifyQuery.model_fields
        )
        if fields:
            asked = query.with_fields(read_fields(fields))
            image.change_parameters(model=asked.model, top_k=asked.top_k, deadline_ms=asked.deadline_ms)
        async with CancelOnDisconnect(request.scope):
            answer = await image.classify(encoded)
    return JsonResponse(to_classification(answer))


def admit(state: AppState, request: Request, query: ClassifyQuery) -> ImageRequest:
    """Admit the one image of a request; its clock starts here. Raises as `Classifier.open` and `priority_of`."""
    return state.classifier.open(
        request_id=request_id_of(request.scope),
        model=query.model,
        top_k=query.top_k,
        deadline_ms=query.deadline_ms,
        priority=priority_of(request.headers),
        started_s=time.perf_counter(),
        headers=request.headers,
    )


def _read_json_fields(fields: Fields) -> Fields:
    """Unquote JSON strings and leave out nulls; any other text, numbers too, stays as it is."""
    read: dict[str, str] = {}
    for name, text in fields.items():
        try:
            value = from_json(text)
        except ValueError:
            value = text
        if value is not None:
            read[name] = value if isinstance(value, str) else text
    return read
