"""How long a batch takes: measured at warm-up, corrected by every batch since."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from bento_service.domain.runner import BatchCost

_GAIN = 0.2
"""Share of a batch's error that the speed follows: the mean of about the last ten batches, 2/gain - 1."""
_CLIP = 0.4
"""Largest error of one batch that counts, as a log ratio (Huber's bounded influence): a stall, however long, moves the
speed by 8 %, and a tenfold change, ln 10 = 2.3, is followed at 0.08 a batch, in some 40 batches. On a loaded CPU 96 %
of batches lie within it (bench/results/runner-2026-11-21.json)."""
_SPEED_LIMIT = math.log(1000)
"""Beyond a thousand times faster or slower than at warm-up, durations are a broken clock's."""
_SIZE_GAIN = 0.02
"""Share of a batch's error that the correction of its size follows: a tenth of `_GAIN`, so that it does not learn a
change of speed that all sizes share."""
_SIZE_LIMIT = math.log(4)
"""Largest correction of one size, as a log ratio."""
_SIZE_KEPT = 0.998
"""Share of each size's own correction kept at each batch, half of it over 350, so that a size that once looked slow is
tried again."""

_FOLLOWED = 0.01
"""Share of the difference to another mode's speed that a mode takes over at each batch of that mode; half in 70."""


class CostModel:
    """Duration of one model's batches in one engine mode, by batch size.

    Warm-up measures the shape. Then one speed for all sizes follows each batch quickly, and one correction a size
    slowly, both on a log scale, where twice as slow and twice as fast are equally far. `sizes` are the measured batch
    sizes, ascending. `learn` and `follow` are called under the queue's lock; readers need no lock.
    """

    def __init__(self, duration_ms: Mapping[int, float], *, bucket_sizes: Sequence[int] = ()) -> None:
        """Start from measured durations.

        Args:
            duration_ms: Duration by batch size, more than 0; has size 1.
            bucket_sizes: Sizes that run without padding, ascending; another size costs what the next one does. Empty
                where every size runs as it is.

        Raises:
            ValueError: Size 1 is missing, or a duration is not more than 0.
        """
        if 1 not in duration_ms or min(duration_ms.values()) <= 0:
            raise ValueError(
                f"The durations by batch size are {dict(duration_ms)}; they must have size 1 and be more than 0."
            )
        self.sizes = tuple(sorted(duration_ms))
        self.bucket_sizes = tuple(bucket_sizes)
        self._measured_ms = tuple(duration_ms[size] for size in self.sizes)
        self._slowness = 0.0
        self._correction_by_size = [0.0] * len(self.sizes)
        self._samples = [0] * len(self.sizes)
        self._curve_ms = self._fit()

    @property
    def speed(self) -> float:
        """The current speed as a share of warm-up's."""
        return math.exp(-self._slowness)

    def predict_ms(self, batch_size: int) -> float:
        """Predict how long a batch takes.

        Linear between measured sizes, proportional beyond the last, a step function where there are buckets. Never
        less than for a smaller batch.
        """
        sizes, curve_ms = self.sizes, self._curve_ms
        size = self._pad(batch_size)
        upper = bisect_left(sizes, size)
        if upper == len(sizes):
            return curve_ms[-1] * size / sizes[-1]
        if sizes[upper] == size or upper == 0:
            return curve_ms[upper]
        share = (size - sizes[upper - 1]) / (sizes[upper] - sizes[upper - 1])
        return curve_ms[upper - 1] + share * (curve_ms[upper] - curve_ms[upper - 1])

    def curve_ms(self) -> dict[int, float]:
        """Return the current duration of each measured size."""
        return dict(zip(self.sizes, self._curve_ms, strict=True))

    def learn(self, batch_size: int, duration_ms: float) -> None:
        """Learn how long a batch took; a duration that is not more than 0 is ignored."""
        if duration_ms <= 0:
            return
        ratio = duration_ms / self.predict_ms(batch_size)
        error = math.log(max(math.exp(-_CLIP), min(math.exp(_CLIP), ratio)))
        self._slowness = max(-_SPEED_LIMIT, min(_SPEED_LIMIT, self._slowness + _GAIN * error))
        size = self._pad(batch_size)
        nearest = min(range(len(self.sizes)), key=lambda index: abs(math.log(self.sizes[index] / size)))
        self._correction_by_size = [_SIZE_KEPT * own for own in self._correction_by_size]
        own = self._correction_by_size[nearest] + _SIZE_GAIN * (1 - _GAIN) * error
        self._correction_by_size[nearest] = max(-_SIZE_LIMIT, min(_SIZE_LIMIT, own))
        self._samples[nearest] += 1
        self._curve_ms = self._fit()

    def follow(self, other: "CostModel") -> None:
        """Move the speed a little towards that of another mode that has just run.

        What slows the machine down slows both modes. A mode that does not run while it looks slow could not learn
        otherwise that the slowdown has passed.
        """
        self._slowness += _FOLLOWED * (other._slowness - self._slowness)
        self._curve_ms = self._fit()

    def describe(self) -> tuple[BatchCost, ...]:
        """Return each measured size's duration at warm-up and now, ascending."""
        return tuple(
            BatchCost(size, measured_ms, current_ms, samples)
            for size, measured_ms, current_ms, samples in zip(
                self.sizes, self._measured_ms, self._curve_ms, self._samples, strict=True
            )
        )

    def _pad(self, batch_size: int) -> int:
        if not self.bucket_sizes or batch_size >= self.bucket_sizes[-1]:
            return batch_size
        return self.bucket_sizes[bisect_left(self.bucket_sizes, batch_size)]

    def _fit(self) -> tuple[float, ...]:
        curve_ms: list[float] = []
        longest_ms = 0.0
        for measured_ms, own in zip(self._measured_ms, self._correction_by_size, strict=True):
            longest_ms = max(longest_ms, measured_ms * math.exp(self._slowness + own))
            curve_ms.append(longest_ms)
        return tuple(curve_ms)
