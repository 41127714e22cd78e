"""Counts of requests by outcome."""

from lightbox_client.contract import HistoryBucket


def count_outcomes(bucket: HistoryBucket) -> dict[str, int]:
    """Count requests by the names of `palette.OUTCOMES`; the counts add up to `bucket.count`.

    A service older than the dashboard reports neither cached answers nor client errors: all its answers count as
    computed, all its errors as failures.
    """
    cancelled = bucket.outcomes.get("cancelled", 0)
    cached = bucket.cached or 0
    return {
        "computed": bucket.count - bucket.errors - bucket.shed - cancelled - cached,
        "from cache": cached,
        "rejected (overload)": bucket.shed,
        "client errors": bucket.client_errors or 0,
        "failures": bucket.errors if bucket.failures is None else bucket.failures,
        "cancelled by client": cancelled,
    }
