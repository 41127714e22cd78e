"""How much work an image is, told from its bytes before any of it is done."""

import threading
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

_FIRST_FIXED_MS = 0.4
_FIRST_MS_PER_BYTE = 27e-6
"""Decoding and preparing a JPEG on one thread: 48 kB in 1.7 ms, 2 MB in 55. That is twice what was measured
(bench/results/intake-2026-11-21.json): until it is learnt, a machine half as fast must not let in too many."""
_ANCHORS = {0: 0.02, 1_000_000: 1.0}
"""Where the first guess is held up as a sample that is never forgotten, and how many images it counts as: small files
alone must not tilt the line, and large ones alone leave it a foot."""
_KEPT = 0.99
"""Share of what was learnt that is kept at each image: the last hundred or so count."""
_OUTLIER = 4.0
"""One image counts as at most this many times more or less than was expected of it."""
_MIN_EXPECTED_MS = 0.05
_PIXEL_WEIGHT = 0.1
"""Weight of one image in the running mean of the time for a pixel: such images are rare, and single ones odd."""
_MIN_PIXEL_SHARE = 0.25
"""Shortest time for a pixel ever believed, as a share of the first: cheap ones must not pave the way for dear ones."""


class ImageKind(StrEnum):
    """What decoding costs by."""

    JPEG = "JPEG"
    PROGRESSIVE_JPEG = "progressive JPEG"
    PNG = "PNG"
    WEBP = "WEBP"
    GIF = "GIF"
    BMP = "BMP"
    TIFF = "TIFF"
    HEIC = "HEIC"
    AVIF = "AVIF"


_FIRST_MS_PER_PIXEL: Mapping[ImageKind, float] = MappingProxyType(
    {
        ImageKind.JPEG: 1.6e-6,
        ImageKind.PROGRESSIVE_JPEG: 11e-6,
        ImageKind.PNG: 8.6e-6,
        ImageKind.WEBP: 8.4e-6,
        ImageKind.GIF: 5.3e-6,
        ImageKind.BMP: 2e-6,
        ImageKind.TIFF: 3.2e-6,
        ImageKind.HEIC: 30e-6,
        ImageKind.AVIF: 8e-6,
    }
)
"""What a pixel takes that hardly has a byte: `images.prepare.prepare` on one colour, 7070 x 7070, over its pixels.

A HEIC's is that of phones' photographs, 23 to 35e-6, as it is never learnt (see `Preprocessor.learn_decode`).
"""


class DecodeTimeModel:
    """Decoding time by encoded bytes and by pixels, whichever is more; learnt online.

    The line over bytes is weighted least squares with forgetting, held by two samples of the first guess; each image's
    error counts relative to its own time. Images that compress to next to nothing (one colour, line art) take the time
    that their pixels do. Each image teaches the one of the two that spoke for it. Thread-safe.
    """

    def __init__(self, ms_per_pixel: float = _FIRST_MS_PER_PIXEL[ImageKind.JPEG]) -> None:
        """Start from a first guess, below a quarter of which a pixel's time never goes."""
        self._lock = threading.Lock()
        self._min_ms_per_pixel = ms_per_pixel * _MIN_PIXEL_SHARE
        self._ms_per_pixel = ms_per_pixel
        self._line = (_FIRST_FIXED_MS, _FIRST_MS_PER_BYTE)
        # Sums of weight, and of weight times x, y, x², xy.
        self._sums: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
        anchors = [
            _weigh(size, self.predict_ms(size), samples / self.predict_ms(size) ** 2)
            for size, samples in _ANCHORS.items()
        ]
        self._anchor = tuple(map(sum, zip(*anchors, strict=True)))

    def predict_ms(self, encoded_bytes: int, pixels: int = 0) -> float:
        """Predict the time of one image on one thread."""
        fixed_ms, ms_per_byte = self._line
        return max(_MIN_EXPECTED_MS, fixed_ms + ms_per_byte * encoded_bytes, self._ms_per_pixel * pixels)

    def learn(self, encoded_bytes: int, decode_ms: float, pixels: int = 0) -> None:
        """Take note of how long one image took."""
        with self._lock:
            expected_ms = self.predict_ms(encoded_bytes, pixels)
            believed_ms = min(max(decode_ms, expected_ms / _OUTLIER), expected_ms * _OUTLIER)
            if expected_ms > self.predict_ms(encoded_bytes):
                learnt = self._ms_per_pixel + _PIXEL_WEIGHT * (believed_ms / pixels - self._ms_per_pixel)
                self._ms_per_pixel = max(self._min_ms_per_pixel, learnt)
                return
            terms = _weigh(encoded_bytes, believed_ms, 1 / expected_ms**2)
            self._sums = tuple(_KEPT * old + new for old, new in zip(self._sums, terms, strict=True))
            self._line = self._solve()

    def _solve(self) -> tuple[float, float]:
        w, x, y, xx, xy = (old + held for old, held in zip(self._sums, self._anchor, strict=True))
        slope = max(0.0, (w * xy - x * y) / (w * xx - x * x))
        return max(0.0, (y - slope * x) / w), slope


def _weigh(x: float, y: float, weight: float) -> tuple[float, ...]:
    return weight, weight * x, weight * y, weight * x * x, weight * x * y


class WorkEstimator:
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
        self._decode = {kind: DecodeTimeModel(_FIRST_MS_PER_PIXEL[kind]) for kind in ImageKind}

    def estimate_ms(self, model: str, encoded_bytes: int, kind: ImageKind, *, pixels: int = 0) -> float:
        """Estimate the work of one image; without its pixels, by its bytes alone."""
        decode_ms = self._decode[kind].predict_ms(encoded_bytes, pixels)
        inference_ms = self._inference_ms[model]
        if self._shares_cores:
            return (decode_ms + inference_ms) / max(self._decode_threads, self._lanes)
        return max(decode_ms / self._decode_threads, inference_ms / self._lanes)

    def learn_decode(self, encoded_bytes: int, kind: ImageKind, *, decode_ms: float, pixels: int = 0) -> None:
        """Take note of what decoding one image took; best in CPU time of its thread, which load does not stretch."""
        self._decode[kind].learn(encoded_bytes, decode_ms, pixels)
