"""`POST /classify`: one image, in the form in which BentoML's clients and its page at `/` send it."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from bento_service.http.classify import admit
from bento_service.http.edge import EdgeProvider
from bento_service.http.hangup import CancelOnHangup
from bento_service.http.parameters import ClassifyQuery
from bento_service.http.upload import read_upload
from bento_service.http.wire import JsonResponse, to_classification

CLASSIFY_PATH = "/classify"


def bento_classify_router(provide: EdgeProvider) -> APIRouter:
    """Return the router of BentoML's call, which BentoML describes at `/docs.json` and our own document leaves out."""
    router = APIRouter()

    @router.post(CLASSIFY_PATH, include_in_schema=False)
    async def classify(request: Request, query: Annotated[ClassifyQuery, Query()]) -> Response:
        """Answer as `/v1/classify` does, with the parameters as fields of the form too, where they win.

        A deadline among the fields is known, and held, only once the whole form has arrived.
        """
        edge = provide()
        with admit(edge, request, query) as pending, edge.budget.lease() as lease:
            upload = await read_upload(
                request, edge.settings, lease, deadline_ms=query.deadline_ms, text_fields=ClassifyQuery.model_fields
            )
            if upload.texts:
                asked = query.override(upload.texts)
                pending.ask_for(model=asked.model, top_k=asked.top_k, deadline_ms=asked.deadline_ms)
            async with CancelOnHangup(request.receive, request.scope):
                answer = await pending.classify(upload.encoded)
        return JsonResponse(to_classification(answer))

    return router
