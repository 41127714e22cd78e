"""`GET /v1/history`: aggregates and single receipts of the journal."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Literal, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from bento_service.domain.requests import OUTCOME_OK
from bento_service.errors import InvalidParameterError
from bento_service.http.requests.parameters import EARLIEST, JournalText, WindowQuery
from bento_service.http.responses.openapi import describe_problems
from bento_service.http.responses.problems import PROBLEM_TYPES
from bento_service.http.responses.serializers import JsonResponse, to_history, to_history_request
from bento_service.http.state import get_state
from bento_service.journal.windows import LONGEST_WINDOW
from lightbox_client.contract import History, HistoryRequests

READS_AT_ONCE = 2
"""Threads that read the journal; more slow queries wait, and leave the CPUs to the decode threads."""
_OUTCOMES = (OUTCOME_OK, *PROBLEM_TYPES)
_PROBLEMS = ("invalid_parameter", "not_ready", "journal_unavailable")

T = TypeVar("T")


class HistoryQuery(WindowQuery):
    """Parameters of aggregates."""

    buckets: int = Field(
        default=60,
        ge=1,
        le=500,
        description="Stretches of equal length to cut the window into. They begin at multiples of their length, so "
        "there is one more where the window does not. A single one covers the window as it is, moved by less than a "
        "tenth of its length or 5 s.",
    )


class ReceiptsQuery(WindowQuery):
    """Parameters of a list of receipts."""

    order: Literal["slowest", "newest"] = Field(default="newest", description="`slowest` by total time.")
    limit: int = Field(default=20, ge=1, le=500, description="Receipts at most.")
    model_version: JournalText | None = Field(default=None, description="One version of a model, whole; else all.")
    outcome: str | None = Field(default=None, description="`ok` or an error's code; else all.")
    request_id: JournalText | None = Field(
        default=None, description="Only receipts with this id; `since` is then 400 days before `until` unless given."
    )
    offset: int = Field(default=0, ge=0, le=100_000, description="Receipts to skip, to read them page by page.")

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Return start and end; with a request's id, all the time that the journal keeps."""
        if self.request_id is None or self.since is not None:
            return super().window(now)
        until = self.until or now
        return self.model_copy(update={"since": max(EARLIEST, until - LONGEST_WINDOW)}).window(now)


router = APIRouter(prefix="/v1/history", tags=["history"])


@router.get("", summary="Aggregate the journal", response_model=History, responses=describe_problems(*_PROBLEMS))
async def show_history(request: Request, query: Annotated[HistoryQuery, Query()]) -> Response:
    """Return counts, latencies of computed and of cached answers, batch sizes and top classes, of all clients."""
    state = get_state(request)
    since, until = query.window(state.clock())
    read = partial(state.journal.read_history, since=since, until=until, buckets=query.buckets, model=query.model)
    return JsonResponse(to_history(await _run_read(request, read), query.model))


@router.get(
    "/requests",
    summary="List single receipts",
    response_model=HistoryRequests,
    responses=describe_problems(*_PROBLEMS),
)
async def list_receipts(request: Request, query: Annotated[ReceiptsQuery, Query()]) -> Response:
    """Return what single requests cost and gave, slowest or newest first, or those with one id."""
    state = get_state(request)
    if query.outcome is not None and query.outcome not in _OUTCOMES:
        raise InvalidParameterError(
            f"outcome is {query.outcome!r}; it must be one of: {', '.join(_OUTCOMES)}.",
            parameter="outcome",
            given=query.outcome,
        )
    since, until = query.window(state.clock())
    filters = query.model_dump(include={"order", "limit", "model", "model_version", "outcome", "request_id", "offset"})
    receipts = await _run_read(request, partial(state.journal.read_receipts, since=since, until=until, **filters))
    return JsonResponse(HistoryRequests(requests=[to_history_request(receipt) for receipt in receipts]))


async def _run_read(request: Request, read: Callable[[], T]) -> T:
    """Run a blocking read of the journal in a thread."""
    return await anyio.to_thread.run_sync(read, limiter=request.app.state.journal_reads)
