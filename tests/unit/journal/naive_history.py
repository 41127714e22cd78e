"""What a history has to say, computed from the receipts themselves in the plainest way."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import pytest

from bento_service.domain import HistoryBucket, Quantiles, Receipt

RELATIVE_ERROR = 0.01


def assert_bucket_tells_of(bucket: HistoryBucket, receipts: Sequence[Receipt], *, until: datetime) -> None:
    """Hold a bucket against those of `receipts` that fall in `[bucket.start, until)`."""
    inside = [receipt for receipt in receipts if bucket.start <= receipt.received_at < until]
    answered = [receipt for receipt in inside if receipt.outcome == "ok"]
    computed = [receipt for receipt in answered if not receipt.cached]
    tops = Counter((receipt.top[0].class_id, receipt.top[0].label) for receipt in answered)
    ranking = sorted(((*name, count) for name, count in tops.items()), key=lambda top: (-top[2], top[0], top[1]))

    assert bucket.outcomes == Counter(receipt.outcome for receipt in inside)
    assert bucket.batch_sizes == Counter(receipt.batch_size for receipt in computed)
    assert bucket.top_classes == tuple(ranking[:10])
    assert set(bucket.stages) == {"total", "receive", "decode", "queue", "inference"}
    for stage, quantiles in bucket.stages.items():
        durations = sorted(getattr(receipt.timings, f"{stage}_ms") for receipt in computed)
        assert_quantiles(quantiles, durations)


def assert_quantiles(quantiles: Quantiles, durations_ms: Sequence[float]) -> None:
    """Hold quantiles against the sorted durations, within the promised relative error."""
    for share, found in ((0.5, quantiles.p50), (0.95, quantiles.p95), (0.99, quantiles.p99)):
        if not durations_ms:
            assert found is None
        else:
            exact = durations_ms[math.floor(share * (len(durations_ms) - 1))]
            assert found == pytest.approx(exact, rel=RELATIVE_ERROR + 1e-9, abs=0.001)
