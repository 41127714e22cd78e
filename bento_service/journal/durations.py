"""Durations in bins of constant relative width, so that percentiles of any stretch of time come from added counts.

This is DDSketch (Masson, Rim and Lee, PVLDB 12(12), 2019) with its logarithmic mapping, for one fixed range of values.
The range being fixed, a sketch is a plain histogram, which numpy adds up by the thousand; the `ddsketch` package reads
and merges one sketch at a time in Python, too slow for a month of rollups (`python -m bench.sketches`).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RELATIVE_ERROR = 0.01
"""How far a percentile may lie from the true one, as a share of it."""

SMALLEST_MS = 0.001
"""A shorter duration, or one that is no number, counts as zero."""

LARGEST_MS = 1e7
"""A longer duration counts as this one: just under three hours."""

_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA = math.log(_GAMMA)

BINS = math.ceil(math.log(LARGEST_MS / SMALLEST_MS) / _LOG_GAMMA) + 1
"""Number of bins. Bin 0 holds zeros, bin k > 0 holds (SMALLEST_MS * gamma**(k - 1), SMALLEST_MS * gamma**k]."""


def find_bins(durations_ms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each duration, in an array of the same shape."""
    clipped = np.clip(np.nan_to_num(durations_ms, posinf=LARGEST_MS), SMALLEST_MS, LARGEST_MS)
    bins = np.ceil(np.log(clipped / SMALLEST_MS) / _LOG_GAMMA).astype(np.int64)
    return np.minimum(bins, BINS - 1)


def find_quantiles(
    bins: NDArray[np.uint32], counts: NDArray[np.uint32], quantiles: Sequence[float]
) -> list[float] | None:
    """Return durations in milliseconds, one for each quantile in [0, 1], or None where nothing was counted.

    The q-quantile of n values is the one of rank floor(q * (n - 1)), counting from 0 in ascending order (DDSketch,
    algorithm 3); the answer is within `RELATIVE_ERROR` of it.

    Args:
        bins: Bins that hold something, ascending.
        counts: How many durations each of them holds.
        quantiles: Shares in [0, 1].
    """
    if len(bins) == 0:
        return None
    cumulative = np.cumsum(counts, dtype=np.int64)
    ranks = np.floor(np.asarray(quantiles) * (cumulative[-1] - 1))
    found = bins[np.searchsorted(cumulative, ranks, side="right")].astype(np.float64)
    middles = SMALLEST_MS * 2 * _GAMMA**found / (_GAMMA + 1)
    return [float(value) for value in np.where(found == 0, 0.0, middles)]
