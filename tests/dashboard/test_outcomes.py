from datetime import UTC, datetime

from dashboard.charts.palette import OUTCOMES
from dashboard.outcomes import count_outcomes
from lightbox_client.contract import HistoryBucket, QuantilesMs

BUCKET = HistoryBucket(
    start=datetime(2026, 1, 5, tzinfo=UTC),
    count=100,
    errors=9,
    client_errors=7,
    failures=2,
    shed=5,
    outcomes={"ok": 85, "undecodable_image": 7, "inference_failed": 2, "overloaded": 5, "cancelled": 1},
    cached=60,
    total_ms=QuantilesMs(),
    stages_ms={},
    batch_sizes={},
    top_classes=[],
)


def test_every_request_is_counted_once_by_what_became_of_it() -> None:
    assert count_outcomes(BUCKET) == {
        "computed": 25,
        "from cache": 60,
        "rejected (overload)": 5,
        "client errors": 7,
        "failures": 2,
        "cancelled by client": 1,
    }
    assert count_outcomes(BUCKET).keys() == OUTCOMES.keys()


def test_an_older_services_errors_all_count_as_failures_and_its_answers_as_computed() -> None:
    older = BUCKET.model_copy(update={"client_errors": None, "failures": None, "cached": None})
    counts = count_outcomes(older)
    assert (counts["failures"], counts["client errors"], counts["computed"], counts["from cache"]) == (9, 0, 85, 0)
    assert sum(counts.values()) == older.count
