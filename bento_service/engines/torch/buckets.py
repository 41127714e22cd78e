"""Batch sizes that are prepared in advance, and which of them a batch takes."""

from bisect import bisect_left
from collections.abc import Sequence


def list_buckets(max_batch: int) -> tuple[int, ...]:
    """Return the powers of two up to a largest batch, and that batch: at most half of a bucket is ever padding.

    Raises:
        ValueError: `max_batch` is below 1.
    """
    if max_batch < 1:
        raise ValueError(f"max_batch is {max_batch}; it has to be at least 1.")
    return (*(2**power for power in range((max_batch - 1).bit_length())), max_batch)


def choose_bucket(count: int, buckets: Sequence[int]) -> int:
    """Return the smallest bucket that holds so many images.

    Args:
        count: Images, at least 1 and at most the last bucket.
        buckets: Ascending.

    Raises:
        ValueError: They do not fit into the last one.
    """
    index = bisect_left(buckets, count)
    if index == len(buckets):
        raise ValueError(f"{count} images were given; the largest bucket holds {buckets[-1]}.")
    return buckets[index]
