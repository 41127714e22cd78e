"""How much work an image is, estimated from its bytes before any of it is done."""

import threading
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

_FIRST_FIXED_MS = 0.4
_FIRST_MS_PER_BYTE = 27e-6
"""First guess for a JPEG on one thread: 48 kB in 1.7 ms, 2 MB in 55. That is twice what was measured
(bench/results/intake-2026-11-21.json), so that a machine half as fast does not admit too much at first."""
_ANCHORS = {0: 0.02, 1_000_000: 1.0}
"""Two fixed pseudo-samples of the first guess, by size and weight in images. They keep the fit stable when all files
have about the same size."""
_KEPT = 0.99
"""Weight kept by earlier images at each new one: about the last hundred count."""
_OUTLIER = 4.0
"""One image counts as at most this many times more or less than predicted."""
_MIN_EXPECTED_MS = 0.05
_PIXEL_WEIGHT = 0.1
"""Weight of one image in the running mean of the time for a pixel: such images are rare, and vary."""
_MIN_PIXEL_SHARE = 0.25
"""Least time for a pixel, as a share of the first guess, so that cheap images do not make costly ones look cheap."""


class ImageKind(StrEnum):
    """Formats whose decoding times differ."""

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
"""First guess of the time for a pixel: `preprocess` on one colour, 7070 x 7070, over its pixels.

That of HEIC is of phones' photographs, 23 to 35e-6, since it is never learnt (see `Preprocessor.learn_decode`).
"""


class DecodeTimeModel:
    """Decoding time by encoded bytes and by pixels, whichever is more; learnt online.

    The line over bytes is weighted least squares with forgetting; each image's error counts relative to its own time.
    The time by pixels is for images that compress to almost nothing (one colour, line art). Each image corrects the one
    of the two that predicted its time. Thread-safe.
    """

    def __init__(self, ms_per_pixel: float = _FIRST_MS_PER_PIXEL[ImageKind.JPEG]) -> None:
        """Start from a first guess; the time for a pixel stays above a quarter of it."""
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
        """Learn how long one image took."""
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
    """Estimates an image's work: the milliseconds that it takes of the machine's bottleneck without other load.

    `WaitPredictor` measures how much longer work takes under load. Thread-safe.
    """

    def __init__(
        self, inference_ms: Mapping[str, float], *, decode_threads: int, lanes: int, shares_cores: bool
    ) -> None:
        """Start from warm-up.

        Args:
            inference_ms: An image's share of a full batch, by model: the duration at the ceiling over the ceiling.
            decode_threads: Threads that decode at the same time.
            lanes: Batches that run at the same time without slowing each other down; 1 on a GPU.
            shares_cores: Whether inference and decoding take turns on the same cores, as on a CPU; otherwise they
                overlap, and the slower of them is the bottleneck.
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
        """Learn how long decoding one image took, in CPU time of its thread, which does not depend on load."""
        self._decode[kind].learn(encoded_bytes, decode_ms, pixels)
