"""The expected history, computed from the receipts themselves."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from bento_service.domain.history import HistoryBucket, Quantiles
from bento_service.domain.requests import Receipt

MAX_EXCESS = 0.0203


def assert_bucket_counts(bucket: HistoryBucket, receipts: Sequence[Receipt], *, until: datetime) -> None:
    """Compare a bucket with those of `receipts` that fall in `[bucket.start, until)`."""
    inside = [receipt for receipt in receipts if bucket.start <= receipt.received_at < until]
    answered = [receipt for receipt in inside if receipt.outcome == "ok"]
    computed = [receipt for receipt in answered if not receipt.cached]
    tops = Counter((receipt.top[0].class_id, receipt.top[0].label) for receipt in answered)
    ranking = sorted(((*name, count) for name, count in tops.items()), key=lambda top: (-top[2], top[0], top[1]))

    cached_ms = sorted(receipt.timings.total_ms for receipt in answered if receipt.cached)

    assert bucket.outcomes == Counter(receipt.outcome for receipt in inside)
    assert bucket.cached == len(cached_ms)
    assert_quantiles(bucket.cached_total, cached_ms)
    assert bucket.batch_sizes == Counter(receipt.batch_size for receipt in computed)
    assert bucket.top_classes == tuple(ranking[:10])
    assert set(bucket.stages) == {"total", "receive", "decode", "queue", "inference"}
    for stage, quantiles in bucket.stages.items():
        durations = sorted(getattr(receipt.timings, f"{stage}_ms") for receipt in computed)
        assert_quantiles(quantiles, durations)


def assert_quantiles(quantiles: Quantiles, durations_ms: Sequence[float]) -> None:
    """Compare quantiles with the nearest-rank ones of sorted durations: never less, and at most `MAX_EXCESS` more."""
    if not durations_ms:
        assert quantiles == Quantiles()
        return
    assert quantiles.max == durations_ms[-1]
    for percent, found in ((50, quantiles.p50), (95, quantiles.p95), (99, quantiles.p99)):
        exact = durations_ms[-(-percent * len(durations_ms) // 100) - 1]
        assert found is not None
        assert exact * (1 - 1e-9) <= found <= min(exact * (1 + MAX_EXCESS), durations_ms[-1])
