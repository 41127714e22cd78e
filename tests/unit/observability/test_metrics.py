import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from bento_service.cache.base import Lookup
from bento_service.domain.registry import Comparison
from bento_service.domain.requests import Receipt, Timings
from bento_service.observability.metrics import Metrics
from bento_service.observability.processes import read_start_s


class Scrape:
    """Metrics of their own, and what Prometheus would read."""

    def __init__(self, target_p99_s: float = 1.0) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, target_p99_s=target_p99_s)

    def begin_worker(self) -> None:
        self.metrics.begin_worker(
            supervisor_id=os.getppid(), workers=2, models=("a", "b"), max_queue_images=512, journal_buffer_rows=20_000
        )

    def read(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def count_series(self) -> int:
        return sum(len(family.samples) for family in self.registry.collect())


def make_receipt(
    *, outcome: str = "ok", model: str = "a", batch_size: int = 4, cached: bool = False, further_runs: int = 0
) -> Receipt:
    return Receipt(
        request_id="r",
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
        model=model,
        model_version="v",
        outcome=outcome,
        timings=Timings(receive_ms=1, decode_ms=2, queue_ms=4, inference_ms=8, total_ms=16),
        batch_size=batch_size,
        dispatch="cached" if cached else "backlog",
        cached=cached,
        further_runs=further_runs,
    )


def value(name: str, **labels: str) -> tuple[str, dict[str, str]]:
    return name, labels


@pytest.mark.parametrize(
    ("receipts", "expected"),
    [
        (
            [make_receipt(), make_receipt(), make_receipt(outcome="overloaded")],
            [
                (value("lightbox_requests_total", model="a", outcome="ok"), 2),
                (value("lightbox_requests_total", model="a", outcome="overloaded"), 1),
            ],
        ),
        (
            [make_receipt(batch_size=4)],
            [
                (value("lightbox_stage_seconds_sum", model="a", stage="receive"), 0.001),
                (value("lightbox_stage_seconds_sum", model="a", stage="decode"), 0.002),
                (value("lightbox_stage_seconds_sum", model="a", stage="queue"), 0.004),
                (value("lightbox_stage_seconds_sum", model="a", stage="inference"), 0.008),
                (value("lightbox_stage_seconds_sum", model="a", stage="total"), 0.016),
                (value("lightbox_stage_seconds_bucket", model="a", stage="total", le="0.016"), 1),
                (value("lightbox_stage_seconds_bucket", model="a", stage="total", le="0.01"), 0),
                (value("lightbox_batch_size_images_bucket", model="a", le="2.0"), 0),
                (value("lightbox_batch_size_images_bucket", model="a", le="4.0"), 1),
                (value("lightbox_dispatch_total", reason="backlog"), 1),
            ],
        ),
        (
            [make_receipt(outcome="undecodable_image", batch_size=0)],
            [
                (value("lightbox_stage_seconds_count", model="a", stage="total"), None),
                (value("lightbox_batch_size_images_count", model="a"), None),
                (value("lightbox_dispatch_total", reason="backlog"), None),
            ],
        ),
        (
            [make_receipt(batch_size=0, cached=True)],
            [
                (value("lightbox_requests_total", model="a", outcome="ok"), 1),
                (value("lightbox_dispatch_total", reason="cached"), 1),
                (value("lightbox_stage_seconds_count", model="a", stage="total"), None),
                (value("lightbox_batch_size_images_count", model="a"), None),
            ],
        ),
        (
            [make_receipt(further_runs=49)],
            [
                (value("lightbox_requests_total", model="a", outcome="ok"), 1),
                (value("lightbox_stage_seconds_count", model="a", stage="total"), None),
            ],
        ),
    ],
    ids=["by model and outcome", "computed", "refused", "cached", "run many times"],
)
def test_receipts_are_counted_and_computed_answers_timed(
    receipts: list[Receipt], expected: list[tuple[tuple[str, dict[str, str]], float | None]]
) -> None:
    scrape = Scrape(target_p99_s=0.016)
    for receipt in receipts:
        scrape.metrics.observe_receipt(receipt)

    assert [(key, scrape.read(key[0], **key[1])) for key, _ in expected] == expected


def test_the_cache_counts_by_result_and_its_failures_by_operation() -> None:
    scrape = Scrape()
    for result in ("hit", "hit", "miss"):
        scrape.metrics.observe_lookup(result)
    scrape.metrics.observe_cache_failure("read")
    scrape.metrics.observe_cache_size(3, 15_000)
    assert scrape.read("lightbox_cache_requests_total", result="hit") == 2
    assert scrape.read("lightbox_cache_requests_total", result="miss") == 1
    assert scrape.read("lightbox_cache_failures_total", operation="read") == 1
    assert scrape.read("lightbox_cache_entries") == 3
    assert scrape.read("lightbox_cache_bytes") == 15_000


def test_a_rejection_counts_by_its_reason() -> None:
    scrape = Scrape()
    scrape.metrics.observe_rejection("queue_full")
    assert scrape.read("lightbox_shed_total", reason="queue_full") == 1


def test_a_start_is_counted_with_its_settings() -> None:
    scrape = Scrape(target_p99_s=0.3)
    scrape.begin_worker()
    assert scrape.read("lightbox_workers") == 2
    assert scrape.read("lightbox_worker_starts_total") == 1
    assert scrape.read("lightbox_start_time_seconds") == read_start_s(os.getppid())
    assert scrape.read("lightbox_target_p99_seconds") == 0.3
    assert scrape.read("lightbox_max_queue_images") == 512
    assert scrape.read("lightbox_journal_buffer_rows") == 20_000
    assert scrape.read("lightbox_workers_ready") == 0
    scrape.metrics.observe_readiness(True)
    assert scrape.read("lightbox_workers_ready") == 1
    scrape.metrics.observe_readiness(False)
    assert scrape.read("lightbox_workers_ready") == 0


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("lightbox_requests_total", {"model": "b", "outcome": "inference_failed"}),
        ("lightbox_shed_total", {"reason": "queue_full"}),
        ("lightbox_cache_failures_total", {"operation": "read"}),
        *(("lightbox_cache_requests_total", {"result": result}) for result in Lookup),
        ("lightbox_journal_rows_dropped_total", {}),
        ("lightbox_http_requests_total", {"route": "/v1/classify", "method": "POST", "status": "500"}),
        ("lightbox_http_requests_total", {"route": "/v1/classify/batch", "method": "POST", "status": "503"}),
        ("lightbox_http_requests_total", {"route": "/classify", "method": "POST", "status": "504"}),
    ],
)
def test_what_an_alert_counts_is_there_before_its_first_event(name: str, labels: dict[str, str]) -> None:
    scrape = Scrape()
    scrape.begin_worker()
    assert scrape.read(name, **labels) == 0


def test_an_http_request_counts_by_route_method_and_status() -> None:
    scrape = Scrape()
    scrape.metrics.observe_http("/v1/classify", "POST", 429, 0.25)
    labels = {"route": "/v1/classify", "method": "POST", "status": "429"}
    assert scrape.read("lightbox_http_requests_total", **labels) == 1
    assert scrape.read("lightbox_http_request_seconds_sum", route="/v1/classify") == pytest.approx(0.25)


def test_more_traffic_of_the_same_kind_makes_no_more_series() -> None:
    scrape = Scrape()
    scrape.metrics.observe_receipt(make_receipt())
    scrape.metrics.observe_http("unmatched", "GET", 404, 0.001)
    series = scrape.count_series()
    for size in range(1, 500):
        scrape.metrics.observe_receipt(make_receipt(batch_size=size))
        scrape.metrics.observe_http("unmatched", "GET", 404, size)
    assert scrape.count_series() == series


def test_methods_that_clients_invent_share_one_series() -> None:
    scrape = Scrape()
    for number in range(500):
        scrape.metrics.observe_http("unmatched", f"BREW{number}", 405, 0.001)
    assert scrape.read("lightbox_http_requests_total", route="unmatched", method="other", status="405") == 500


def test_requests_count_by_version_and_so_many_versions_at_most() -> None:
    scrape = Scrape()
    for number in range(60):
        scrape.metrics.observe_receipt(replace(make_receipt(), model="a", model_version=f"v{number}"))
    series = "lightbox_version_requests_total"
    assert scrape.read(series, model="a", version="v49", outcome="ok") == 1
    assert scrape.read(series, model="a", version="other", outcome="ok") == 10


def test_comparisons_count_by_result_and_missed_ones_by_reason() -> None:
    scrape = Scrape()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for is_same in (True, False, True):
        scrape.metrics.observe_comparison(Comparison("a", "v1", "v2", "r-1", at, is_same, 0.1))
    scrape.metrics.observe_missed_comparison("a", "dropped")
    series = "lightbox_shadow_comparisons_total"
    assert scrape.read(series, model="a", challenger="v2", result="same_class") == 2
    assert scrape.read(series, model="a", challenger="v2", result="other_class") == 1
    assert scrape.read("lightbox_shadow_missed_total", model="a", reason="dropped") == 1
