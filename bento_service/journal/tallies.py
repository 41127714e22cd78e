"""Sparse histograms that add up: what a rollup is made of."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAX_COUNT = np.iinfo(np.uint32).max


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """How often each key was seen.

    `cells` is uint32, shape (n, 2): keys, strictly ascending, and their counts, at least 1. A count stays at 2**32 - 1
    once it gets there.
    """

    cells: NDArray[np.uint32]

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

    def encode(self) -> bytes:
        """Return the tally as bytes: pairs of little-endian 32-bit key and count."""
        return self.cells.astype("<u4", copy=False).tobytes()


def decode(encoded: bytes) -> Tally:
    """Return the tally that `Tally.encode` wrote."""
    return Tally(np.frombuffer(encoded, dtype="<u4").reshape(-1, 2))


def count_keys(keys: Iterable[int]) -> Tally:
    """Count keys in [0, 2**32)."""
    return Tally(np.array(sorted(Counter(keys).items()), dtype=np.uint32).reshape(-1, 2))


def add_up(tallies: Sequence[Tally]) -> Tally:
    """Return the sum of tallies. Takes memory in proportion to the largest key."""
    if len(tallies) == 1:
        return tallies[0]
    cells = np.concatenate([tally.cells for tally in tallies]) if tallies else np.empty((0, 2), dtype=np.uint32)
    if len(cells) == 0:
        return Tally(cells)
    # bincount adds in float64, which is exact up to 2**53.
    sums = np.bincount(cells[:, 0], weights=cells[:, 1])
    keys = np.flatnonzero(sums)
    return Tally(np.stack([keys, np.minimum(sums[keys], _MAX_COUNT)], axis=1).astype(np.uint32))
