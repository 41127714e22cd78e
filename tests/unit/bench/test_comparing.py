import io

import numpy as np
import pytest
from PIL import Image

from bench.closed_loop import read_report
from bench.peers.classifier import ModelFiles, crop, prepare
from bench.plan import make_plan
from bench.servers import LIGHTBOX, choose_servers, list_servers
from bench.sessions import compare_answers
from bento_service.domain.models import InputRecipe
from bento_service.images.prepare import ImageLimits
from bento_service.images.prepare import prepare as prepare_as_lightbox

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


def test_lightbox_takes_part_whatever_peers_are_asked_for() -> None:
    assert [server.key for server in choose_servers(["triton"])] == [LIGHTBOX, "triton"]


def test_everyone_takes_part_where_nobody_is_named() -> None:
    assert [server.key for server in choose_servers([])] == [server.key for server in list_servers()]


def test_a_server_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"no server nginx; there are lightbox, fastapi_torch"):
        choose_servers(["nginx"])


def test_the_servers_own_settings_hold_its_port_and_workers() -> None:
    peer = next(server for server in list_servers() if server.key == "ray_serve")
    assert peer.environment(port=8123, workers=2) == {"BENCH_PORT": "8123", "BENCH_WORKERS": "2"}


def test_lightbox_is_compared_without_its_cache() -> None:
    assert list_servers()[0].environment(port=1, workers=1)["LIGHTBOX_CACHE_BYTES"] == "0"


def test_answers_differ_by_the_largest_difference_of_a_class_that_both_name() -> None:
    assert compare_answers({1: 0.5, 2: 0.3}, {2: 0.31, 1: 0.5, 9: 0.1}) == pytest.approx(0.01)


def test_an_answer_that_is_missing_differs_wholly() -> None:
    assert compare_answers({}, {1: 0.5}) == 1.0


def test_a_quick_plan_leaves_out_what_takes_long_and_wishes_are_kept() -> None:
    quick, whole = (make_plan(quick=is_quick, long=False, rounds=None, seconds=None) for is_quick in (True, False))
    assert (quick.rounds, whole.rounds) == (1, 3)
    assert not quick.peers_scale
    assert make_plan(quick=True, long=True, rounds=2, seconds=9).rounds == 2


def test_a_whole_run_is_expected_to_take_longer_than_a_quick_one_and_a_round_more_longer_still() -> None:
    quick, whole, longer = (
        make_plan(quick=is_quick, long=False, rounds=rounds, seconds=None).expect_minutes(8)
        for is_quick, rounds in ((True, None), (False, None), (False, 4))
    )
    assert quick < whole < longer


@pytest.mark.parametrize("size", [(451, 300), (300, 451), (256, 256), (700, 260)])
def test_the_peers_prepare_an_image_as_lightbox_does(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=95)
    model = ModelFiles(onnx_path="", labels=(), size_px=224, crop_fraction=0.875)
    recipe = InputRecipe(224, 224, 0.875, "bicubic", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    ours = prepare_as_lightbox(encoded.getvalue(), recipe, ImageLimits(10**7, 10**7)).pixels_hwc
    theirs = prepare(encoded.getvalue(), model)
    assert theirs.shape == (224, 224, 3)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 2


def test_the_peers_take_a_grey_image_of_just_the_size_that_is_resized_to() -> None:
    model = ModelFiles(onnx_path="", labels=(), size_px=224, crop_fraction=0.875)
    assert crop(Image.new("L", (256, 256)), model).shape == (224, 224, 3)
