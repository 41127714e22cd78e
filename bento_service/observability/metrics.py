"""The Prometheus series of Lightbox. Every label is bounded: served names and versions, codes, route templates."""

from collections import Counter as Counts
from collections.abc import Mapping, Sequence
from typing import TypeVar

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from bento_service.domain.registry import Comparison, LoadState, VersionStatus
from bento_service.domain.requests import OUTCOME_OK, Receipt
from bento_service.errors import InferenceFailedError
from bento_service.observability.processes import read_start_s

_STAGE_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SHED_REASONS = ("target", "deadline", "queue_full", "receiving", "memory")
_CACHE_RESULTS = ("hit", "shared", "miss")
_CACHE_FAILURES = ("read", "write", "busy", "refused_write")
_CLASSIFYING_ROUTES = ("/v1/classify", "/v1/classify/batch", "/v1/explain", "/classify")
_SERVER_ERRORS = ("500", "503", "504")
_MAX_VERSIONS = 50
"""Versions that series name, at most, over the life of the worker; others are `other`. No series ever goes away."""

Series = TypeVar("Series", Counter, Histogram)


class Metrics:
    """The series that Prometheus scrapes. Thread-safe; made once in a process, since a registry takes each name once.

    With `PROMETHEUS_MULTIPROC_DIR` set, a scrape adds up the values of all workers. What an alert counts exists from
    the start, at 0: Prometheus sees no increase in a series that appears with its first event.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, target_p99_s: float = 1.0) -> None:
        """Register every series. `target_p99_s` is a bucket's bound, so that what took longer is known exactly."""
        self._children: dict[tuple[Counter | Histogram, tuple[str, ...]], Counter | Histogram] = {}
        self._versions: set[str] = set()

        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(name, description, labels, registry=registry)

        def histogram(name: str, description: str, *labels: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(name, description, labels, registry=registry, buckets=buckets)

        def summed(name: str, description: str) -> Gauge:
            return Gauge(name, description, registry=registry, multiprocess_mode="livesum")

        def same_for_all(name: str, description: str) -> Gauge:
            return Gauge(name, description, registry=registry, multiprocess_mode="livemax")

        self.workers = same_for_all("lightbox_workers", "Worker processes configured.")
        self.workers_ready = summed(
            "lightbox_workers_ready", "Worker processes that are ready: models warm, not draining."
        )
        self.worker_starts = counter(
            "lightbox_worker_starts_total", "Worker processes started, including those that replaced a dead one."
        )
        self.start_time = same_for_all(
            "lightbox_start_time_seconds",
            "When the process that started the workers started, since the epoch: the container's start.",
        )
        self.target_p99_seconds = same_for_all(
            "lightbox_target_p99_seconds", "Latency target that admission holds requests to."
        )
        self.target_p99_seconds.set(target_p99_s)
        self._states_seen: set[tuple[str, str, LoadState]] = set()
        self.version_workers = Gauge(
            "lightbox_model_version_workers",
            f"Worker processes by the state in which they have a version: {', '.join(LoadState)}.",
            ("model", "version", "state"),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.requests = counter(
            "lightbox_requests_total",
            "Images requested, by model and outcome (ok or an error code).",
            "model",
            "outcome",
        )
        self.version_requests = counter(
            "lightbox_version_requests_total",
            "Images requested, by model, its version and outcome (ok or an error code).",
            "model",
            "version",
            "outcome",
        )
        self.comparisons = counter(
            "lightbox_shadow_comparisons_total",
            "Answered images that a shadow ran too, by model, shadow's version and result (same_class, other_class).",
            "model",
            "challenger",
            "result",
        )
        self.missed_comparisons = counter(
            "lightbox_shadow_missed_total",
            "Images that a shadow did not run: by model and reason (dropped for lack of time, or failed).",
            "model",
            "reason",
        )
        self.stage_seconds = histogram(
            "lightbox_stage_seconds",
            "Duration of each stage of requests that were answered by one run of the model, and of the whole "
            "(stage=total).",
            "model",
            "stage",
            buckets=sorted({*_STAGE_BUCKETS_S, target_p99_s}),
        )
        self.batch_size = histogram(
            "lightbox_batch_size_images",
            "Images in the batch that an answered image ran in; none if the cache answered.",
            "model",
            buckets=_BATCH_BUCKETS,
        )
        self.queue_depth = summed("lightbox_queue_depth_images", "Images admitted and not yet answered.")
        self.max_queue = summed("lightbox_max_queue_images", "Images in decoding, in the queue and on lanes, at most.")
        self.shed = counter(
            "lightbox_shed_total", f"Images rejected for overload, by reason: {', '.join(_SHED_REASONS)}.", "reason"
        )
        self.dispatch = counter(
            "lightbox_dispatch_total", "Answered images, by the reason for which their batch was started.", "reason"
        )
        self.cache_requests = counter(
            "lightbox_cache_requests_total", f"Images by result at the cache: {', '.join(_CACHE_RESULTS)}.", "result"
        )
        self.cache_failures = counter(
            "lightbox_cache_failures_total",
            f"Operations in which the cache's store failed: {', '.join(_CACHE_FAILURES)}.",
            "operation",
        )
        self.cache_entries = summed("lightbox_cache_entries", "Results that the cache keeps in memory.")
        self.cache_bytes = summed("lightbox_cache_bytes", "Memory that those results take up.")
        self.lanes_lost = counter(
            "lightbox_lanes_lost_total", "Lanes that died and were replaced; their images ran again."
        )
        self.out_of_memory = counter(
            "lightbox_out_of_memory_total", "Batches that ran out of memory and ran again smaller."
        )
        self.journal_dropped = counter(
            "lightbox_journal_rows_dropped_total", "Receipts that the journal could not keep."
        )
        self.journal_written = counter("lightbox_journal_rows_written_total", "Receipts that the journal has stored.")
        self.journal_waiting = summed(
            "lightbox_journal_waiting_rows", "Receipts that wait to be written to the journal."
        )
        self.journal_buffer = summed(
            "lightbox_journal_buffer_rows", "Receipts that may wait, at most; more are dropped."
        )
        self.http_requests = counter(
            "lightbox_http_requests_total",
            "HTTP requests by route template (unmatched for unknown paths), method and status.",
            "route",
            "method",
            "status",
        )
        self.http_seconds = histogram(
            "lightbox_http_request_seconds",
            "Duration of HTTP requests by route template.",
            "route",
            buckets=_STAGE_BUCKETS_S,
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
        """Count this process as a worker that starts and is not ready yet, with the limits of its settings."""
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

    def observe_versions(self, states: Mapping[tuple[str, str], VersionStatus]) -> None:
        """Set the state of each loaded version, and drop the states of unloaded ones."""
        found = Counts((model, self._limit_version(version), one.state) for (model, version), one in states.items())
        self._states_seen |= found.keys() | {(model, version, LoadState.FAILED) for model, version, _ in found}
        for labels in self._states_seen:
            self.version_workers.labels(*labels).set(found[labels])

    def observe_readiness(self, is_ready: bool) -> None:
        """Set whether this worker is ready."""
        self.workers_ready.set(int(is_ready))

    def observe_receipt(self, receipt: Receipt) -> None:
        """Count one finished request."""
        self._child(self.requests, receipt.model, receipt.outcome).inc()
        if receipt.model_version:
            version = self._limit_version(receipt.model_version)
            self._child(self.version_requests, receipt.model, version, receipt.outcome).inc()
        if receipt.outcome != OUTCOME_OK:
            return
        self._child(self.dispatch, receipt.dispatch).inc()
        if receipt.cached or receipt.further_runs:
            # The times of the cache would hide those of classification, and an occlusion's 50 runs would seem to miss
            # the latency target, which does not hold for them.
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

    def observe_rejection(self, reason: str) -> None:
        """Count one rejection for overload."""
        self._child(self.shed, reason).inc()

    def observe_comparison(self, comparison: Comparison) -> None:
        """Count one image that ran on a champion and on its shadow."""
        result = "same_class" if comparison.is_same_class else "other_class"
        self._child(self.comparisons, comparison.name, self._limit_version(comparison.challenger), result).inc()

    def observe_missed_comparison(self, model: str, reason: str) -> None:
        """Count one image that a shadow did not run."""
        self._child(self.missed_comparisons, model, reason).inc()

    def observe_lookup(self, result: str) -> None:
        """Count one image's result at the cache."""
        self._child(self.cache_requests, result).inc()

    def observe_cache_failure(self, operation: str) -> None:
        """Count one operation in which the cache's store failed."""
        self._child(self.cache_failures, operation).inc()

    def observe_cache_size(self, entries: int, size_bytes: int) -> None:
        """Set the size of the cache in memory."""
        self.cache_entries.set(entries)
        self.cache_bytes.set(size_bytes)

    def observe_http(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one HTTP request; `route` is a template, never a raw path.

        HTTP lets a client invent methods; an unusual one counts as `other`.
        """
        self._child(self.http_requests, route, method if method in _METHODS else "other", str(status)).inc()
        self._child(self.http_seconds, route).observe(seconds)

    def _limit_version(self, version: str) -> str:
        if version not in self._versions and len(self._versions) >= _MAX_VERSIONS:
            return "other"
        self._versions.add(version)
        return version

    def _child(self, series: Series, *values: str) -> Series:
        """Return the series of these label values, which prometheus_client would look up under a lock each time."""
        key = (series, values)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = series.labels(*values)
        return child  # type: ignore[return-value] # of the kind that is in its key
