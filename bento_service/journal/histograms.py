"""Histograms that add up: sparse counts by key, and the bins that durations are counted in.

The bins are those of DDSketch (Masson, Rim and Lee, PVLDB 12(12), 2019) with its logarithmic mapping, over a fixed
range, so that a sketch is a plain histogram. The `ddsketch` package is too slow for a month of rollups (ADR 4).
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SMALLEST_MS = 0.001
"""A shorter duration, or NaN, counts as zero."""

LARGEST_MS = 1e7
"""A longer duration counts as this one: just under three hours."""

BIN_ERROR = 0.01
"""Largest relative distance of a duration from the middle of its bin. Stored rollups depend on it."""

_GAMMA = (1 + BIN_ERROR) / (1 - BIN_ERROR)
_LOG_GAMMA = math.log(_GAMMA)

MAX_EXCESS = _GAMMA - 1
"""Largest relative excess of a percentile over the true one: 2 %."""

BINS = math.ceil(math.log(LARGEST_MS / SMALLEST_MS) / _LOG_GAMMA) + 1
"""Number of bins. Bin 0 holds zeros, bin k > 0 holds (SMALLEST_MS * gamma**(k - 1), SMALLEST_MS * gamma**k]."""

_MAX_COUNT = np.iinfo(np.uint32).max


@dataclass(frozen=True, slots=True, eq=False)
class SparseHistogram:
    """Counts by key: `cells` holds strictly ascending keys and their counts, shape (n, 2).

    A count is at least 1 and saturates at 2**32 - 1.
    """

    cells: NDArray[np.uint32]

    @classmethod
    def count(cls, keys: Iterable[int]) -> "SparseHistogram":
        """Count keys in [0, 2**32)."""
        return cls(np.array(sorted(Counter(keys).items()), dtype=np.uint32).reshape(-1, 2))

    @classmethod
    def add_up(cls, histograms: Sequence["SparseHistogram"]) -> "SparseHistogram":
        """Return the sum of histograms. Takes memory in proportion to the largest key."""
        if len(histograms) == 1:
            return histograms[0]
        cells = np.concatenate([each.cells for each in histograms]) if histograms else np.empty((0, 2), dtype=np.uint32)
        if len(cells) == 0:
            return cls(cells)
        # bincount adds in float64, which is exact up to 2**53.
        sums = np.bincount(cells[:, 0], weights=cells[:, 1])
        keys = np.flatnonzero(sums)
        return cls(np.stack([keys, np.minimum(sums[keys], _MAX_COUNT)], axis=1).astype(np.uint32))

    @classmethod
    def decode(cls, encoded: bytes) -> "SparseHistogram":
        """Return the histogram that `encode` wrote."""
        return cls(np.frombuffer(encoded, dtype="<u4").reshape(-1, 2))

    def encode(self) -> bytes:
        """Return pairs of little-endian 32-bit key and count."""
        return self.cells.astype("<u4", copy=False).tobytes()

    @property
    def keys(self) -> NDArray[np.uint32]:
        """The keys, ascending, shape (n,)."""
        return self.cells[:, 0]

    @property
    def counts(self) -> NDArray[np.uint32]:
        """The count of each key, shape (n,)."""
        return self.cells[:, 1]

    def as_dict(self) -> dict[int, int]:
        """Return the counts by key, ascending."""
        return dict(self.cells.tolist())


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


def find_percentiles(bins: SparseHistogram, percents: Sequence[int], *, slowest_ms: float) -> list[float] | None:
    """Return nearest-rank percentiles in milliseconds, or None where nothing was counted.

    The percentile p of n durations is the one of rank ceil(p / 100 * n), counting from 1 in ascending order. The result
    is never less than that and at most `MAX_EXCESS` more: the upper end of its bin, or `slowest_ms` if that is less.
    Each of `percents` is in [1, 100], `slowest_ms` is the longest of the durations.
    """
    if len(bins.keys) == 0:
        return None
    cumulative = np.cumsum(bins.counts, dtype=np.int64)
    # In whole numbers: 0.07 * 100 is more than 7 in floating point.
    ranks = -(-np.asarray(percents, dtype=np.int64) * cumulative[-1] // 100)
    found = bins.keys[np.searchsorted(cumulative, ranks, side="left")]
    return [float(value) for value in np.minimum(upper_ends(found), slowest_ms)]
