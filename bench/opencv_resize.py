"""Compare the resize of recipes that are not antialiased with OpenCV's own, and time it over 12 megapixels.

OpenCV is no part of the lock; install it anywhere, and run

    uv pip install --target DIR --no-deps opencv-python-headless
    PYTHONPATH=DIR python -m bench.opencv_resize --json

Images are noise and parts of photographs, of random sizes up to 400 pixels, in random sizes up to 300. Intel's IPP,
which OpenCV uses on x86-64 unless it is told not to, has a bicubic filter of its own.
"""

import argparse
import io
import json
import time
from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.environment import describe_environment, write_result
from bento_service.images.geometry import Axis, Geometry
from bento_service.images.resize import RGBX_MODE, resize_and_crop
from bento_service.preparation.parity import sample_crops

_FLAGS: Final = {
    "nearest": "INTER_NEAREST",
    "bilinear": "INTER_LINEAR",
    "bicubic": "INTER_CUBIC",
    "lanczos": "INTER_LANCZOS4",
}
_SIZES = 300
_LARGE = (4000, 3000)
_REPEATS = 7


def main() -> None:
    """Compare each filter, and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="write bench/results/opencv_resize-DATE.json")
    options = parser.parse_args()
    cv2 = _load_opencv()
    figures = {}
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    for interpolation in ("nearest", "bilinear", "bicubic", "lanczos"):
        figures[interpolation] = {
            "with IPP": _compare(cv2, interpolation, uses_ipp=True),
            "without IPP": _compare(cv2, interpolation, uses_ipp=False),
            "12 megapixels, ms": _time_large(interpolation, is_antialiased=False),
            "12 megapixels antialiased, ms": _time_large(interpolation, is_antialiased=True),
        }
        print(interpolation, json.dumps(figures[interpolation], indent=2))
    if options.json:
        environment = describe_environment(
            "python -m bench.opencv_resize --json", ("numpy", "pillow", "opencv-python-headless")
        )
        print(write_result("opencv_resize", {**environment, "figures": figures}))


def _load_opencv() -> Any:  # noqa: ANN401 - not of the lock
    try:
        import cv2  # type: ignore[import-not-found] # noqa: PLC0415
    except ImportError as error:
        raise SystemExit(f"{error}. Install OpenCV first:\n{__doc__}") from error
    return cv2


def _compare(
    cv2: Any,  # noqa: ANN401
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"],
    *,
    uses_ipp: bool,
) -> dict[str, float]:
    cv2.ipp.setUseIPP(uses_ipp)
    largest = differing = total = 0
    for pixels, (width_px, height_px) in _make_cases():
        expected = cv2.resize(pixels, (width_px, height_px), interpolation=getattr(cv2, _FLAGS[interpolation]))
        geometry = Geometry(Axis(width_px, 0, width_px), Axis(height_px, 0, height_px))
        served = resize_and_crop(Image.fromarray(pixels), geometry, interpolation, is_antialiased=False)
        difference = np.abs(served.astype(int) - expected)
        largest = max(largest, int(difference.max()))
        differing += int(np.count_nonzero(difference))
        total += difference.size
    return {"largest_difference": largest, "share_of_values_that_differ": differing / total}


def _make_cases() -> Iterator[tuple[NDArray[np.uint8], tuple[int, int]]]:
    random = np.random.default_rng(0)
    photographs = [np.asarray(Image.open(io.BytesIO(crop)).convert("RGB")) for crop in sample_crops()[:20]]
    for index in range(_SIZES):
        height_px, width_px, resized_height_px, resized_width_px = (
            int(side) for side in random.integers(1, (401, 401, 301, 301))
        )
        noise = random.integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
        photograph = photographs[index % len(photographs)][:height_px, :width_px]
        yield noise if index % 2 else np.ascontiguousarray(photograph), (resized_width_px, resized_height_px)


def _time_large(interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"], *, is_antialiased: bool) -> float:
    noise = np.random.default_rng(0).integers(0, 256, (_LARGE[1], _LARGE[0], 4), dtype=np.uint8)
    image = Image.frombuffer(RGBX_MODE, _LARGE, noise, "raw", RGBX_MODE, 0, 1)
    geometry = Geometry(Axis(341, 58, 224), Axis(256, 16, 224))
    times_ms = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        resize_and_crop(image, geometry, interpolation, is_antialiased=is_antialiased)
        times_ms.append(1000 * (time.perf_counter() - started))
    return round(min(times_ms), 1)


if __name__ == "__main__":
    main()
