"""Durations in bins of constant relative width, so that percentiles of any stretch of time come from added counts.

This is DDSketch (Masson, Rim and Lee, PVLDB 12(12), 2019) with its logarithmic mapping, for one fixed range of values.
The range being fixed, a sketch is a plain histogram, which numpy adds up by the thousand; the `ddsketch` package reads
and merges one sketch at a time in Python, too slow for a month of rollups (`python -m bench.sketches`).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SMALLEST_MS = 0.001
"""A shorter duration, or one that is no number, counts as zero."""

LARGEST_MS = 1e7
"""A longer duration counts as this one: just under three hours."""

BIN_ERROR = 0.01
"""How far any duration of a bin lies from the bin's middle, at most, as a share of it. Stored rollups depend on it."""

_GAMMA = (1 + BIN_ERROR) / (1 - BIN_ERROR)
_LOG_GAMMA = math.log(_GAMMA)

MAX_EXCESS = _GAMMA - 1
"""How far a percentile may lie above the true one, as a share of it: 2 %."""

BINS = math.ceil(math.log(LARGEST_MS / SMALLEST_MS) / _LOG_GAMMA) + 1
"""Number of bins. Bin 0 holds zeros, bin k > 0 holds (SMALLEST_MS * gamma**(k - 1), SMALLEST_MS * gamma**k]."""


def clip(durations_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Clip durations to [0, LARGEST_MS], NaN to zero; the array keeps its shape."""
    return np.clip(np.nan_to_num(durations_ms, posinf=LARGEST_MS), 0.0, LARGEST_MS)


def find_bins(durations_ms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each duration, in an array of the same shape."""
    clipped = np.maximum(clip(durations_ms), SMALLEST_MS)
    bins = np.ceil(np.log(clipped / SMALLEST_MS) / _LOG_GAMMA).astype(np.int64)
    return np.minimum(bins, BINS - 1)


def upper_ends(bins: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Return the longest duration that each bin holds, in milliseconds."""
    return np.where(bins == 0, 0.0, SMALLEST_MS * _GAMMA ** bins.astype(np.float64))


def find_percentiles(
    bins: NDArray[np.uint32], counts: NDArray[np.uint32], percents: Sequence[int], *, slowest_ms: float
) -> list[float] | None:
    """Return percentiles in milliseconds, or None where nothing was counted.

    The percentile p of n durations is the nearest-rank one: the duration of rank ceil(p / 100 * n), counting from 1 in
    ascending order. What is returned is never less than that and at most `MAX_EXCESS` more: the upper end of its bin,
    or `slowest_ms` where that is less.

    Args:
        bins: Bins that hold something, ascending.
        counts: How many durations each of them holds.
        percents: Which percentiles, each in [1, 100].
        slowest_ms: The longest of the durations.
    """
    if len(bins) == 0:
        return None
    cumulative = np.cumsum(counts, dtype=np.int64)
    # In whole numbers: 0.07 * 100 is more than 7 in floating point.
    ranks = -(-np.asarray(percents, dtype=np.int64) * cumulative[-1] // 100)
    found = bins[np.searchsorted(cumulative, ranks, side="left")]
    return [float(value) for value in np.minimum(upper_ends(found), slowest_ms)]
