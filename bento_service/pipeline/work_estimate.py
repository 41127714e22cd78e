"""How much work an image is, estimated from its bytes before any of it is done."""

import threading
from collections.abc import Mapping
from types import MappingProxyType

from bento_service.domain.requests import ImageInfo
from bento_service.images.formats import ImageFormat
from bento_service.images.header import ImageHeader

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


_PROGRESSIVE_JPEG = "progressive JPEG"
_FIRST_MS_PER_PIXEL = MappingProxyType(
    {
        ImageFormat.JPEG: 1.6e-6,
        _PROGRESSIVE_JPEG: 11e-6,
        ImageFormat.PNG: 8.6e-6,
        ImageFormat.WEBP: 8.4e-6,
        ImageFormat.GIF: 5.3e-6,
        ImageFormat.BMP: 2e-6,
        ImageFormat.TIFF: 3.2e-6,
        ImageFormat.HEIC: 30e-6,
        ImageFormat.AVIF: 8e-6,
    }
)
"""First guess of the time for a pixel, by kind of decoding: `preprocess` on one colour, 7070 x 7070.

That of HEIC is of phones' photographs, 23 to 35e-6: it is never learnt, since libde265 decodes on a thread of its own.
"""


class DecodeTimeModel:
    """Decoding time by encoded bytes and by pixels, whichever is more; learnt online.

    The line over bytes is weighted least squares with forgetting; each image's error counts relative to its own time.
    The time by pixels is for images that compress to almost nothing (one colour, line art). Each image corrects the one
    of the two that predicted its time. Thread-safe.
    """

    def __init__(self, ms_per_pixel: float) -> None:
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
        self,
        inference_ms: Mapping[str, float],
        *,
        decode_threads: int,
        lanes: int,
        shares_cores: bool,
        max_pixels: int,
    ) -> None:
        """Start from warm-up.

        Args:
            inference_ms: An image's share of a full batch, by model: the duration at the ceiling over the ceiling.
            decode_threads: Threads that decode at the same time.
            lanes: Batches that run at the same time without slowing each other down; 1 on a GPU.
            shares_cores: Whether inference and decoding take turns on the same cores, as on a CPU; otherwise they
                overlap, and the slower of them is the bottleneck.
            max_pixels: Pixels of the largest image that is decoded.
        """
        self._inference_ms = dict(inference_ms)
        self._decode_threads = decode_threads
        self._lanes = lanes
        self._shares_cores = shares_cores
        self._max_pixels = max_pixels
        self._decode = {kind: DecodeTimeModel(ms_per_pixel) for kind, ms_per_pixel in _FIRST_MS_PER_PIXEL.items()}

    def add_model(self, model: str, inference_ms: float) -> None:
        """Estimate images of one more model from now on; `inference_ms` is an image's share of a full batch."""
        self._inference_ms[model] = inference_ms

    def remove_model(self, model: str) -> None:
        """Forget a model of which no image comes any more."""
        del self._inference_ms[model]

    def estimate_ms(self, model: str, encoded_bytes: int, header: ImageHeader | None) -> float:
        """Estimate the work of one image from its header, which is None for bytes that are no image.

        An unknown size counts as the largest that is allowed, and one above that as zero: the image is refused without
        decoding.
        """
        pixels = 0 if header is None else self._max_pixels if header.pixels is None else header.pixels
        if pixels > self._max_pixels:
            pixels = 0
        return self._bottleneck_ms(self._decode[_kind_of(header)].predict_ms(encoded_bytes, pixels), model)

    def estimate_inference_ms(self, model: str) -> float:
        """Estimate the work of one image that is decoded already."""
        return self._bottleneck_ms(0.0, model)

    def _bottleneck_ms(self, decode_ms: float, model: str) -> float:
        inference_ms = self._inference_ms[model]
        if self._shares_cores:
            return (decode_ms + inference_ms) / max(self._decode_threads, self._lanes)
        return max(decode_ms / self._decode_threads, inference_ms / self._lanes)

    def learn_decode(
        self, encoded_bytes: int, header: ImageHeader | None, info: ImageInfo, *, decode_ms: float
    ) -> None:
        """Learn how long decoding one image took, in CPU time of its thread, which does not depend on load."""
        kind = _kind_of(header)
        if kind != ImageFormat.HEIC:
            self._decode[kind].learn(encoded_bytes, decode_ms, info.width_px * info.height_px)


def _kind_of(header: ImageHeader | None) -> str:
    if header is None:
        return ImageFormat.JPEG
    return _PROGRESSIVE_JPEG if header.is_progressive else header.format
