"""The Prometheus series of Lightbox. Every label is bounded: model names from the settings, codes, route templates."""

from collections.abc import Sequence
from typing import TypeVar

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from bento_service.domain.requests import OUTCOME_OK, Receipt
from bento_service.errors import InferenceFailedError
from bento_service.observability.processes import read_start_s

_STAGE_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SHED_REASONS = ("target", "deadline", "queue_full", "receiving", "memory")
_CACHE_RESULTS = ("hit", "shared", "miss")
_CACHE_FAILURES = ("read", "write", "busy", "refused_write")
_CLASSIFYING_ROUTES = ("/v1/classify", "/v1/classify/batch", "/classify")
_SERVER_ERRORS = ("500", "503", "504")


Series = TypeVar("Series", Counter, Histogram)


class Metrics:
    """What Prometheus can scrape. Thread-safe; made once in a process, as a registry takes each name once.

    With `PROMETHEUS_MULTIPROC_DIR` set, as BentoML sets it, the values of all workers are added up at the scrape. What
    an alert counts is there from the start, at 0: of a series that appears with its first event, Prometheus never sees
    that event as an increase.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, target_p99_s: float = 1.0) -> None:
        """Register every series. `target_p99_s` bounds a bucket, so that what took longer is known exactly."""
        self._children: dict[tuple[Counter | Histogram, tuple[str, ...]], Counter | Histogram] = {}
        self.workers = Gauge(
            "lightbox_workers",
            "Worker processes configured.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.workers_ready = Gauge(
            "lightbox_workers_ready",
            "Worker processes that are ready: models warm, not draining.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.worker_starts = Counter(
            "lightbox_worker_starts_total",
            "Worker processes started, those that replaced a dead one among them.",
            registry=registry,
        )
        self.start_time = Gauge(
            "lightbox_start_time_seconds",
            "When the process that started the workers started, since the epoch: the container's start.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.target_p99_seconds = Gauge(
            "lightbox_target_p99_seconds",
            "Latency target that admission holds requests to.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.target_p99_seconds.set(target_p99_s)
        stage_buckets = tuple(sorted({*_STAGE_BUCKETS_S, target_p99_s}))
        self.requests = Counter(
            "lightbox_requests_total",
            "Images asked for, by model and outcome (ok or an error code).",
            ["model", "outcome"],
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "lightbox_stage_seconds",
            "Duration of each stage of requests that were answered without the cache, and of the whole (stage=total).",
            ["model", "stage"],
            buckets=stage_buckets,
            registry=registry,
        )
        self.batch_size = Histogram(
            "lightbox_batch_size_images",
            "Images in the batch that an answered image ran in; none where the cache answered.",
            ["model"],
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.queue_depth = Gauge(
            "lightbox_queue_depth_images",
            "Images admitted and not yet answered.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.max_queue = Gauge(
            "lightbox_max_queue_images",
            "Images received and not yet answered, at most.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.shed = Counter(
            "lightbox_shed_total",
            f"Images refused for load, by reason: {', '.join(_SHED_REASONS)}.",
            ["reason"],
            registry=registry,
        )
        self.dispatch = Counter(
            "lightbox_dispatch_total",
            "Answered images by the reason for which their batch was let go.",
            ["reason"],
            registry=registry,
        )
        self.cache_requests = Counter(
            "lightbox_cache_requests_total",
            f"Images by what became of them at the cache: {', '.join(_CACHE_RESULTS)}.",
            ["result"],
            registry=registry,
        )
        self.cache_failures = Counter(
            "lightbox_cache_failures_total",
            f"Operations in which the cache's store did not serve: {', '.join(_CACHE_FAILURES)}.",
            ["operation"],
            registry=registry,
        )
        self.cache_entries = Gauge(
            "lightbox_cache_entries",
            "Answers that the cache keeps in memory.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.cache_bytes = Gauge(
            "lightbox_cache_bytes",
            "Memory that those answers take up.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.lanes_lost = Counter(
            "lightbox_lanes_lost_total",
            "Lanes that died and were replaced; what they held ran again.",
            registry=registry,
        )
        self.out_of_memory = Counter(
            "lightbox_out_of_memory_total", "Batches that met out-of-memory and ran again smaller.", registry=registry
        )
        self.journal_dropped = Counter(
            "lightbox_journal_rows_dropped_total", "Receipts that the journal could not keep.", registry=registry
        )
        self.journal_written = Counter(
            "lightbox_journal_rows_written_total", "Receipts that the journal has stored.", registry=registry
        )
        self.journal_waiting = Gauge(
            "lightbox_journal_waiting_rows",
            "Receipts that wait to be written to the journal.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.journal_buffer = Gauge(
            "lightbox_journal_buffer_rows",
            "Receipts that may wait, at most; more are dropped.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.http_requests = Counter(
            "lightbox_http_requests_total",
            "HTTP requests by route template (unmatched for unknown paths), method and status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.http_seconds = Histogram(
            "lightbox_http_request_seconds",
            "Duration of HTTP requests by route template.",
            ["route"],
            buckets=_STAGE_BUCKETS_S,
            registry=registry,
        )

    def begin_worker(
        self,
        *,
        supervisor_id: int,
        workers: int,
        models: Sequence[str],
        max_queue_images: int,
        journal_buffer_rows: int,
    ) -> None:
        """Count this process as a worker that starts, with what its settings allow it; not ready yet."""
        self.worker_starts.inc()
        self.start_time.set(read_start_s(supervisor_id))
        self.workers.set(workers)
        self.workers_ready.set(0)
        self.max_queue.set(max_queue_images)
        self.journal_buffer.set(journal_buffer_rows)
        for model in models:
            for outcome in (OUTCOME_OK, InferenceFailedError.code):
                self._child(self.requests, model, outcome)
        for route in _CLASSIFYING_ROUTES:
            for status in _SERVER_ERRORS:
                self._child(self.http_requests, route, "POST", status)
        for series, values in (
            (self.shed, _SHED_REASONS),
            (self.cache_requests, _CACHE_RESULTS),
            (self.cache_failures, _CACHE_FAILURES),
        ):
            for value in values:
                self._child(series, value)

    def observe_readiness(self, is_ready: bool) -> None:
        """Take whether this worker is ready."""
        self.workers_ready.set(int(is_ready))

    def observe_receipt(self, receipt: Receipt) -> None:
        """Count one finished request."""
        self._child(self.requests, receipt.model, receipt.outcome).inc()
        if receipt.outcome != OUTCOME_OK:
            return
        self._child(self.dispatch, receipt.dispatch).inc()
        if receipt.cached:
            # How fast the cache answers says nothing about how fast images are classified.
            return
        timings = receipt.timings
        for stage, duration_ms in (
            ("receive", timings.receive_ms),
            ("decode", timings.decode_ms),
            ("queue", timings.queue_ms),
            ("inference", timings.inference_ms),
            ("total", timings.total_ms),
        ):
            self._child(self.stage_seconds, receipt.model, stage).observe(duration_ms / 1000)
        self._child(self.batch_size, receipt.model).observe(receipt.batch_size)

    def observe_shed(self, reason: str) -> None:
        """Count one refusal for load."""
        self._child(self.shed, reason).inc()

    def observe_lookup(self, result: str) -> None:
        """Count what became of one image at the cache."""
        self._child(self.cache_requests, result).inc()

    def observe_cache_failure(self, operation: str) -> None:
        """Count one operation in which the cache's store did not serve."""
        self._child(self.cache_failures, operation).inc()

    def observe_cache_size(self, entries: int, size_bytes: int) -> None:
        """Take the size of the cache in memory."""
        self.cache_entries.set(entries)
        self.cache_bytes.set(size_bytes)

    def observe_http(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one HTTP request; `route` is a template, never a raw path.

        HTTP lets a client invent methods; whatever is not a usual one counts as `other`.
        """
        self._child(self.http_requests, route, method if method in _METHODS else "other", str(status)).inc()
        self._child(self.http_seconds, route).observe(seconds)

    def _child(self, series: Series, *values: str) -> Series:
        """Return the series of these label values, which prometheus_client would look up under a lock each time."""
        key = (series, values)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = series.labels(*values)
        return child  # type: ignore[return-value] # of the kind that is in its key
