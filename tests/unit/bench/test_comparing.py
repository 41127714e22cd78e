import io

import numpy as np
import pytest
from PIL import Image

from bench.closed_loop import read_report
from bench.peers.classifier import ModelFiles, prepare
from bench.sessions import compare_answers
from bento_service.domain.models import InputRecipe
from bento_service.images.preprocessing import ImageLimits, preprocess

REPORT = """Running 2s test
status 200 240
status 429 7
status 500 2
lost connect=0 read=1 write=0 timeout=3
latency_ms p50=12.500 p99=80.250
duration_s 2.000
"""


def test_wrks_report_is_read_with_what_was_refused_and_what_failed() -> None:
    load = read_report(REPORT)
    assert (load.images_per_s, load.p50_ms, load.p99_ms) == (120.0, 12.5, 80.25)
    assert (load.refused, load.failed) == (7, 6)


def test_answers_differ_by_the_largest_difference_of_a_class_that_both_name() -> None:
    assert compare_answers({1: 0.5, 2: 0.3}, {2: 0.31, 1: 0.5, 9: 0.1}) == pytest.approx(0.01)
    assert compare_answers({}, {1: 0.5}) == 1.0


@pytest.mark.parametrize("size", [(451, 300), (300, 451), (256, 256), (700, 260)])
def test_the_peers_prepare_an_image_as_lightbox_does(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=95)
    model = ModelFiles(onnx_path="", labels=(), size_px=224, crop_fraction=0.875)
    recipe = InputRecipe(224, 224, 0.875, "bicubic", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    ours = preprocess(encoded.getvalue(), recipe, ImageLimits(10**7, 10**7)).pixels_hwc
    theirs = prepare(encoded.getvalue(), model)
    assert theirs.shape == (224, 224, 3)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 2
