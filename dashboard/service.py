"""The dashboard's calls to the service, shared by all visitors; they fail at once while it is known to be down."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal, TypeVar

from dashboard.settings import DashboardSettings
from dashboard.uploads import Picked
from lightbox_client import Client, LightboxClientError
from lightbox_client.breaker import CircuitBreaker
from lightbox_client.contract import (
    Classification,
    Explanation,
    ExplanationMethod,
    History,
    HistoryRequest,
    ModelList,
    Status,
)
from lightbox_client.errors import ServiceTimeoutError, ServiceUnreachableError
from lightbox_client.preview import Preview

IN_FLIGHT = 4
"""Images of one visitor in flight: enough to keep the service's lanes busy, too few to crowd out others."""
COOL_DOWN_S = 2.0
"""How long a service that was down is not called again."""
LONGEST_ESTIMATE_S = 120.0
"""Longest wait for a map by occlusion, which is many runs of the model: enough for a large one on a small machine."""

T = TypeVar("T")
Order = Literal["slowest", "newest"]
Outcome = Classification | LightboxClientError
MapOutcome = Explanation | LightboxClientError


@dataclass(frozen=True, slots=True)
class ReceiptsQuery:
    """Selects receipts of the `window` that ends at `until`, or now; None means every model or outcome."""

    window: timedelta
    order: Order
    model: str | None = None
    outcome: str | None = None
    until: datetime | None = None


class Service:
    """Calls the service. Shared by all visitors; safe to use from several threads.

    Every call raises a `LightboxClientError`, and at once while the service is known to be down.
    """

    def __init__(self, settings: DashboardSettings) -> None:
        self.settings = settings
        connect = partial(Client, settings.url, connect_timeout_s=settings.dashboard_connect_timeout_s)
        read_timeout_s = settings.dashboard_read_timeout_s
        self._reader = connect(read_timeout_s=read_timeout_s, max_retries=0)
        self._classifier = connect(read_timeout_s=read_timeout_s, max_retries=2, max_retry_wait_s=5.0)
        self._estimator = connect(
            read_timeout_s=max(read_timeout_s, LONGEST_ESTIMATE_S), max_retries=2, max_retry_wait_s=5.0
        )
        self._breaker = CircuitBreaker(
            max_failures=1, min_pause_s=COOL_DOWN_S, max_pause_s=COOL_DOWN_S, clock=time.monotonic
        )

    def models(self) -> ModelList:
        """Return the served models."""
        return self._guarded(self._reader.models)

    def status(self) -> Status:
        """Return the state of the worker that answers."""
        return self._guarded(self._reader.status)

    def history(self, window: timedelta, buckets: int, model: str | None) -> History:
        """Return aggregates of the window that ends now."""
        until = datetime.now(UTC)
        return self._guarded(
            lambda: self._reader.history(since=until - window, until=until, buckets=buckets, model=model)
        )

    def receipts(self, query: ReceiptsQuery, *, limit: int, offset: int = 0) -> tuple[HistoryRequest, ...]:
        """Return single receipts."""
        until = query.until or datetime.now(UTC)
        found = self._guarded(
            lambda: self._reader.history_requests(
                since=until - query.window,
                until=until,
                order=query.order,
                limit=limit,
                model=query.model,
                outcome=query.outcome,
                offset=offset,
            )
        )
        return tuple(found.requests)

    def find_receipts(self, request_id: str, *, limit: int) -> tuple[HistoryRequest, ...]:
        """Return the receipts of one id, newest first, however old."""
        found = self._guarded(lambda: self._reader.history_requests(request_id=request_id, limit=limit))
        return tuple(found.requests)

    def classify_each(self, images: Sequence[Picked], *, model: str, top_k: int) -> Iterator[tuple[Picked, Outcome]]:
        """Classify images, `IN_FLIGHT` at a time, and yield each as it is done, with its answer or its error.

        Images not yet sent are dropped where the caller stops iterating.
        """
        pool = ThreadPoolExecutor(max_workers=IN_FLIGHT, thread_name_prefix="classify")
        try:
            pending: dict[Future[Outcome], Picked] = {
                pool.submit(self._classify, image, model, top_k): image for image in images
            }
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield pending.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def preview(self, image: Picked) -> Preview:
        """Return the image as the models see it."""
        return self._guarded(lambda: self._reader.preview(image.encoded))

    def explain(self, image: Picked, *, model: str, class_id: int, method: ExplanationMethod) -> MapOutcome:
        """Return where in an image a model sees a class, or the error."""
        client = self._classifier if method == "cam" else self._estimator
        # A model that is slow to explain says nothing about the service: a time-out must not stop other calls.
        try:
            return self._breaker.call(
                lambda: client.explain(image.encoded, model=model, class_id=class_id, method=method),
                (ServiceUnreachableError,),
            )
        except LightboxClientError as error:
            return error

    def try_again(self) -> None:
        """Call the service next time even if it was down a moment ago."""
        self._breaker.succeed()

    def _guarded(self, call: Callable[[], T]) -> T:
        return self._breaker.call(call, (ServiceUnreachableError, ServiceTimeoutError))

    def _classify(self, image: Picked, model: str, top_k: int) -> Outcome:
        try:
            return self._guarded(lambda: self._classifier.classify(image.encoded, model=model, top_k=top_k))
        except LightboxClientError as error:
            return error
