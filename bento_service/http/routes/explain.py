"""`POST /v1/explain`: where in an image a model sees a class."""

import time
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bento_service.explain.explainer import Question
from bento_service.http.requests.accept import prefers
from bento_service.http.requests.disconnect import CancelOnDisconnect
from bento_service.http.requests.headers import describe_priority, priority_of, request_id_of
from bento_service.http.requests.parameters import ExplainQuery, describe_query
from bento_service.http.requests.upload import read_image
from bento_service.http.responses.openapi import describe_image_body, describe_problems
from bento_service.http.responses.serializers import JsonResponse, to_explanation
from bento_service.http.routes.classify import IMAGE_PROBLEMS
from bento_service.http.state import AppState, get_state
from bento_service.pipeline.request import ImageRequest
from lightbox_client.contract import Explanation

PATH = "/v1/explain"
_PNG: Final = "image/png"
_PICTURE: Final[dict[str, Any]] = {
    "description": "The explanation; for `Accept: image/png` its picture.",
    "content": {_PNG: {"schema": {"type": "string", "format": "binary"}}},
}

router = APIRouter(tags=["explain"])


@router.post(
    PATH,
    summary="Explain a class of one image",
    response_model=Explanation,
    responses={**describe_problems(*IMAGE_PROBLEMS), 200: _PICTURE},
    openapi_extra={
        **describe_image_body(ExplainQuery),
        "parameters": [*describe_query(ExplainQuery), describe_priority()],
    },
)
async def explain(request: Request) -> Response:
    """Send an image as for `/v1/classify`; the answer is a map of what speaks for a class, and where it lies.

    A class activation map comes from the same run of the model as the scores, and is exact. Other models are explained
    by occlusion, an estimate from 49 further runs, which let interactive images go first. The cache of results is not
    asked, and every explanation leaves a receipt.

    With the header `Accept: image/png` the answer is the upright image, at most 1024 pixels a side, with the map over
    it.
    """
    # `create_app` routes this call past FastAPI, which only describes it; so it reads its query itself.
    query = ExplainQuery.read(request.scope["query_string"])
    state = get_state(request)
    is_picture = prefers(request.headers.get("accept", ""), _PNG, "application/json")
    with admit(state, request, query) as image, state.budget.lease() as lease:
        encoded, fields = await read_image(
            request, state.settings, lease, deadline_ms=query.deadline_ms, text_fields=ExplainQuery.model_fields
        )
        if fields:
            query = query.with_fields(fields)
            image.change_parameters(model=query.model, top_k=1, deadline_ms=query.deadline_ms)
        async with CancelOnDisconnect(request.scope):
            explanation = await state.explainer.explain(image, encoded, _to_question(query, is_picture=is_picture))
    if explanation.png is not None:
        return Response(explanation.png, media_type=_PNG)
    return JsonResponse(to_explanation(explanation))


def admit(state: AppState, request: Request, query: ExplainQuery) -> ImageRequest:
    """Admit the one image of a request; its clock starts here. Raises as `Explainer.open` and `priority_of`."""
    return state.explainer.open(
        _to_question(query),
        request_id=request_id_of(request.scope),
        model=query.model,
        deadline_ms=query.deadline_ms,
        priority=priority_of(request.headers),
        started_s=time.perf_counter(),
        headers=request.headers,
    )


def _to_question(query: ExplainQuery, *, is_picture: bool = False) -> Question:
    return Question(query.class_id, query.method, query.opacity if is_picture else None)
