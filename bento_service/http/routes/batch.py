"""`POST /v1/classify/batch`: many images in one form, each answered on its own."""

import asyncio
import logging
import time
from contextlib import AbstractContextManager, ExitStack
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from bento_service.errors import LightboxError
from bento_service.http.requests.disconnect import CancelOnDisconnect
from bento_service.http.requests.form import FormFile
from bento_service.http.requests.headers import describe_priority, priority_of, request_id_of
from bento_service.http.requests.parameters import BatchQuery
from bento_service.http.requests.upload import read_batch
from bento_service.http.responses.openapi import describe_batch_body, describe_problems
from bento_service.http.responses.problems import describe_error, describe_internal_error
from bento_service.http.responses.serializers import JsonResponse, to_classification
from bento_service.http.routes.classify import IMAGE_PROBLEMS
from bento_service.http.state import get_state
from bento_service.pipeline.classifier import Classifier
from bento_service.pipeline.request import ImageRequest
from bento_service.pipeline.served_models import ServedModels
from lightbox_client.contract import BatchClassification, BatchItem

IN_FLIGHT = 16
"""Images of one batch that are admitted at a time: enough to keep the lanes busy, and other clients get their share."""
_WHOLE_PROBLEMS = (
    "invalid_parameter",
    "missing_image",
    "unknown_model",
    "receive_timeout",
    "image_too_large",
    "too_many_images",
    "overloaded",
    "not_ready",
    "draining",
)
_ITEM_PROBLEMS = tuple(code for code in IMAGE_PROBLEMS if code not in {"unknown_model", "receive_timeout"})

logger = logging.getLogger(__name__)
router = APIRouter(tags=["classify"])


@router.post(
    "/v1/classify/batch",
    summary="Classify many images",
    response_model=BatchClassification,
    response_description=f"Every item has `result` or `error`. Codes of `error`: {', '.join(_ITEM_PROBLEMS)}.",
    responses=describe_problems(*_WHOLE_PROBLEMS),
    openapi_extra={**describe_batch_body(BatchQuery), "parameters": [describe_priority()]},
)
async def classify_batch(request: Request, query: Annotated[BatchQuery, Query()]) -> Response:
    """Send the images as the form field `images`, repeated; results come in the same order.

    The parameters go into the query, or into fields of the form.

    One bad file never fails its neighbours: the answer is 200, with a problem in that item's place. A service that
    is overloaded when the request arrives rejects the whole with 429 before reading it; images that are rejected
    later are 429 problems of their own. A few images are in flight at a time, and each one's `timings_ms` start with
    its turn (the first one's with the request); its `request_id` is the batch's with the index behind.
    """
    state = get_state(request)
    with ExitStack() as admitted, state.classifier.hold_models() as models, state.budget.lease() as lease:
        batch = _Batch(state.classifier, models, request, query)
        first = admitted.enter_context(batch.open(0))
        files, fields = await read_batch(request, state.settings, lease, text_fields=BatchQuery.model_fields)
        if fields:
            batch.query = query.with_fields(fields)
            first.change_parameters(model=batch.query.model, top_k=batch.query.top_k, deadline_ms=None)
        async with CancelOnDisconnect(request.scope), asyncio.TaskGroup() as group:
            answers = [group.create_task(batch.answer(0, files[0], first, admitted))]
            answers += [group.create_task(batch.answer(index, file)) for index, file in enumerate(files[1:], 1)]
    results = [answer.result() for answer in answers]
    return JsonResponse(BatchClassification(request_id=batch.request_id, results=results))


class _Batch:
    """One batch request. `query` applies to all its images, and whatever changes meanwhile, so do `models`."""

    def __init__(self, classifier: Classifier, models: ServedModels, request: Request, query: BatchQuery) -> None:
        self._classifier = classifier
        self._models = models
        self._headers = request.headers
        self._priority = priority_of(request.headers)
        self._turns = asyncio.Semaphore(IN_FLIGHT)
        self.request_id = request_id_of(request.scope)
        self.query = query

    def open(self, index: int) -> ImageRequest:
        """Admit one image; its clock starts here."""
        return self._classifier.open(
            request_id=self._id_of(index),
            model=self.query.model,
            top_k=self.query.top_k,
            deadline_ms=None,
            priority=self._priority,
            continues_request=index > 0,
            models=self._models,
            headers=self._headers,
            started_s=time.perf_counter(),
        )

    async def answer(
        self,
        index: int,
        file: FormFile,
        image: ImageRequest | None = None,
        admitted: AbstractContextManager[object] | None = None,
    ) -> BatchItem:
        """Answer one file, in its turn. An `image` that is admitted already comes with its context, which ends here."""
        request_id = self._id_of(index)
        try:
            async with self._turns:
                image = image or self.open(index)
                with admitted or image:
                    answer = await image.classify(file.require_content())
        except LightboxError as error:
            return BatchItem(index=index, filename=file.filename, error=describe_error(error, request_id))
        except Exception:  # a defect in one image must not fail the others
            logger.exception("Request %s failed", request_id)
            return BatchItem(index=index, filename=file.filename, error=describe_internal_error(request_id))
        return BatchItem(index=index, filename=file.filename, result=to_classification(answer))

    def _id_of(self, index: int) -> str:
        return f"{self.request_id}-{index}"
