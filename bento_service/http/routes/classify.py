"""`POST /v1/classify`: one image."""

import time
from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from bento_service.http.request_id import request_id_of
from bento_service.http.requests.disconnect import CancelOnDisconnect
from bento_service.http.requests.parameters import ClassifyQuery
from bento_service.http.requests.priority import describe_priority, priority_of
from bento_service.http.requests.upload import read_upload
from bento_service.http.responses.openapi import describe_image_body, describe_problems
from bento_service.http.responses.schemas import JsonResponse, to_classification
from bento_service.http.state import AppState, Pending, StateProvider
from lightbox_client.contract import Classification

PATH = "/v1/classify"
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
Fields = Mapping[str, str]
"""A form's texts, by field."""


def classify_router(provide: StateProvider) -> APIRouter:
    """Return the router of single images."""
    router = APIRouter(tags=["classify"])

    @router.post(
        PATH,
        summary="Classify one image",
        response_model=Classification,
        responses=describe_problems(*IMAGE_PROBLEMS),
        openapi_extra=describe_image_body(ClassifyQuery) | describe_priority(),
    )
    async def classify(request: Request, query: Annotated[ClassifyQuery, Query()]) -> Response:
        """Send the image as the raw body or as the form field `image`; its bytes decide its format.

        The parameters go into the query, or into fields of the form. A request that cannot be answered in time is
        refused before its body is read, by what its query asks for. Hanging up cancels it. With the header
        `X-Priority: bulk` it lets interactive requests go first.
        """
        return await answer_image(provide(), request, query)

    return router


async def answer_image(
    edge: AppState, request: Request, query: ClassifyQuery, *, read_fields: Callable[[Fields], Fields] = dict
) -> Response:
    """Admit a request's one image by its query, receive it, take the parameters of its form, and classify it.

    `read_fields` turns the form's texts into what a query would hold.

    Raises:
        LightboxError: As `priority_of`, `Classifier.open`, `read_upload`, `ClassifyQuery.with_fields`,
            `Pending.change_parameters` and `Pending.classify`.
    """
    with admit(edge, request, query) as pending, edge.budget.lease() as lease:
        upload = await read_upload(
            request, edge.settings, lease, deadline_ms=query.deadline_ms, text_fields=ClassifyQuery.model_fields
        )
        if upload.fields:
            asked = query.with_fields(read_fields(upload.fields))
            pending.change_parameters(model=asked.model, top_k=asked.top_k, deadline_ms=asked.deadline_ms)
        async with CancelOnDisconnect(request.receive, request.scope):
            answer = await pending.classify(upload.encoded)
    return JsonResponse(to_classification(answer))


def admit(edge: AppState, request: Request, query: ClassifyQuery) -> Pending:
    """Admit the one image of a request; its clock starts here. Raises as `Classifier.open` and `priority_of`."""
    return edge.classifier.open(
        request_id=request_id_of(request.scope),
        model=query.model,
        top_k=query.top_k,
        deadline_ms=query.deadline_ms,
        priority=priority_of(request.headers),
        started_s=time.perf_counter(),
    )
