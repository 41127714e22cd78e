"""How much work an image is, told from its bytes before any of it is done."""

import threading
from collections.abc import Mapping
from enum import StrEnum

_FIRST_FIXED_MS = 0.4
_FIRST_MS_PER_BYTE = 27e-6
"""Decoding and preparing a JPEG on one thread: 48 kB in 1.7 ms, 2 MB in 55 (bench/results/intake-2026-11-21.json)."""
_ANCHORS = {0: 0.02, 1_000_000: 1.0}
"""Where the first guess is held up as a sample that is never forgotten, and how many images it counts as: small files
alone must not tilt the line, and large ones alone leave it a foot."""
_KEPT = 0.99
"""Share of what was learnt that is kept at each image: the last hundred or so count."""
_OUTLIER = 4.0
"""One image counts as at most this many times more or less than was expected of it."""
_MIN_EXPECTED_MS = 0.05


class ImageKind(StrEnum):
    """What decoding costs by: a JPEG's bytes are dearer than other formats', which are hardly compressed."""

    JPEG = "jpeg"
    OTHER = "other"


class DecodeCost:
    """Decoding time as a line over encoded bytes, learnt online; each image's error counts relative to its own time.

    Weighted least squares with forgetting, held by two samples of the first guess. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line = (_FIRST_FIXED_MS, _FIRST_MS_PER_BYTE)
        # Sums of weight, and of weight times x, y, x², xy.
        self._sums: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
        anchors = [
            _weigh(size, self.predict_ms(size), samples / self.predict_ms(size) ** 2)
            for size, samples in _ANCHORS.items()
        ]
        self._anchor = tuple(map(sum, zip(*anchors, strict=True)))

    def predict_ms(self, encoded_bytes: int) -> float:
        """Predict the time of one image on one thread."""
        fixed_ms, ms_per_byte = self._line
        return max(_MIN_EXPECTED_MS, fixed_ms + ms_per_byte * encoded_bytes)

    def learn(self, encoded_bytes: int, decode_ms: float) -> None:
        """Take note of how long one image took."""
        with self._lock:
            expected_ms = self.predict_ms(encoded_bytes)
            believed_ms = min(max(decode_ms, expected_ms / _OUTLIER), expected_ms * _OUTLIER)
            terms = _weigh(encoded_bytes, believed_ms, 1 / expected_ms**2)
            self._sums = tuple(_KEPT * old + new for old, new in zip(self._sums, terms, strict=True))
            self._line = self._solve()

    def _solve(self) -> tuple[float, float]:
        w, x, y, xx, xy = (old + held for old, held in zip(self._sums, self._anchor, strict=True))
        slope = max(0.0, (w * xy - x * y) / (w * xx - x * x))
        return max(0.0, (y - slope * x) / w), slope


def _weigh(x: float, y: float, weight: float) -> tuple[float, ...]:
    return weight, weight * x, weight * y, weight * x * x, weight * x * y


class WorkCost:
    """An image's work in milliseconds at the machine's bottleneck, so that the wait is about the sum of those ahead.

    Uncontended times, which do not move with the load: what the load makes of them is `WaitPredictor`'s to measure.
    Thread-safe.
    """

    def __init__(
        self, inference_ms: Mapping[str, float], *, decode_threads: int, lanes: int, shares_cores: bool
    ) -> None:
        """Start from warm-up.

        Args:
            inference_ms: An image's share of a full batch, by model: the duration at the ceiling through the ceiling.
            decode_threads: Threads that decode at the same time.
            lanes: Batches that run at the same time without slowing each other down; 1 on a GPU.
            shares_cores: Whether inference and decoding take turns on the same cores, as on a CPU; otherwise they
                overlap, and the slower of them sets the pace.
        """
        self._inference_ms = dict(inference_ms)
        self._decode_threads = decode_threads
        self._lanes = lanes
        self._shares_cores = shares_cores
        self._decode = {kind: DecodeCost() for kind in ImageKind}

    def estimate_ms(self, model: str, encoded_bytes: int, kind: ImageKind) -> float:
        """Estimate the work of one image."""
        decode_ms = self._decode[kind].predict_ms(encoded_bytes)
        inference_ms = self._inference_ms[model]
        if self._shares_cores:
            return (decode_ms + inference_ms) / max(self._decode_threads, self._lanes)
        return max(decode_ms / self._decode_threads, inference_ms / self._lanes)

    def learn_decode(self, encoded_bytes: int, kind: ImageKind, *, decode_ms: float) -> None:
        """Take note of what decoding one image took; best in CPU time of its thread, which load does not stretch."""
        self._decode[kind].learn(encoded_bytes, decode_ms)
