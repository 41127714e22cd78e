"""The lanes of a GPU on a runtime that is the CPU."""

import logging
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe
from bento_service.engines.torch.cuda_lanes import CudaLane, LaneModel, list_buckets, open_lanes
from tests.fakes.cuda import FakeRuntime

RECIPE = InputRecipe(2, 2, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def spread(images: torch.Tensor) -> torch.Tensor:
    """Give each image away by its first pixel."""
    return images[:, 0, 0].to(torch.float32)


MODEL = LaneModel(spread, RECIPE, classes=3)


def make_batch(values: list[int]) -> NDArray[np.uint8]:
    return np.stack([np.full((2, 2, 3), value, dtype=np.uint8) for value in values])


def open_one(runtime: FakeRuntime, max_batch: int = 8) -> CudaLane:
    return open_lanes(MODEL, max_batch=max_batch, lanes=1, runtime=runtime)[0]


@given(st.lists(st.lists(st.integers(0, 255), min_size=1, max_size=8), min_size=1, max_size=5))
def test_every_image_of_every_batch_gets_its_own_answer(batches: list[list[int]]) -> None:
    lane = open_one(FakeRuntime())
    answers = [lane.run(make_batch(batch)) for batch in batches]
    # Compared after all of them ran: an answer does not change with the batches after it.
    for batch, answer in zip(batches, answers, strict=True):
        np.testing.assert_array_equal(answer, make_batch(batch)[:, 0, 0])


@pytest.mark.parametrize(("count", "bucket"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8)])
def test_a_batch_runs_in_the_smallest_bucket_and_is_read_after_the_stream_has_finished(count: int, bucket: int) -> None:
    runtime = FakeRuntime()
    open_one(runtime).run(make_batch([1] * count))
    assert (runtime.streams[0].replays, runtime.streams[0].finished) == ([bucket], 1)


def test_each_lane_records_every_bucket_on_a_stream_of_its_own() -> None:
    runtime = FakeRuntime()
    lanes = open_lanes(MODEL, max_batch=4, lanes=2, runtime=runtime)
    assert [lane.bucket_sizes for lane in lanes] == [(1, 2, 4)] * 2
    recorded = [(runtime.streams.index(stream), size) for stream, size in runtime.recorded]
    assert recorded == [(lane, size) for lane in (0, 1) for size in (4, 2, 1)]


def test_with_little_memory_the_largest_buckets_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    runtime = FakeRuntime(memory_images=3)
    with caplog.at_level(logging.WARNING):
        lane = open_one(runtime)

    assert lane.bucket_sizes == (1, 2)
    assert lane.max_batch == 2
    assert runtime.released == 2
    assert "batches of 8; trying 4" in caplog.text


def test_memory_for_no_image_at_all_is_reported() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        open_one(FakeRuntime(memory_images=0))


def test_out_of_memory_is_recognised_as_the_cause_of_another_error() -> None:
    runtime = FakeRuntime()
    runtime.unrecordable = RuntimeError("the recording was invalidated")
    runtime.unrecordable.__context__ = torch.OutOfMemoryError("no room")
    with pytest.raises(RuntimeError, match="invalidated"):
        open_one(runtime)

    assert runtime.released == 3


def test_a_model_that_cannot_be_recorded_is_launched_anew_in_batches_of_any_size(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runtime = FakeRuntime(unrecordable=RuntimeError("not permitted when stream is capturing"))
    with caplog.at_level(logging.WARNING):
        lane = open_one(runtime)

    assert lane.bucket_sizes == ()
    assert lane.max_batch == 8
    np.testing.assert_array_equal(lane.run(make_batch([5, 6, 7])), make_batch([5, 6, 7])[:, 0, 0])
    assert "not permitted" in caplog.text


def test_features_come_with_the_scores_from_a_launch_of_their_own() -> None:
    def forward(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return spread(images), images.permute(0, 3, 1, 2).float()

    runtime = FakeRuntime()
    [lane] = open_lanes(LaneModel(spread, RECIPE, 3, forward), max_batch=8, lanes=1, runtime=runtime)
    scores, features = lane.run_with_features(make_batch([5, 6, 7]))

    np.testing.assert_array_equal(scores, lane.run(make_batch([5, 6, 7])))
    np.testing.assert_array_equal(features, make_batch([5, 6, 7]).transpose(0, 3, 1, 2))
    assert (runtime.streams[0].replays, runtime.streams[0].finished) == ([4], 2)


def test_a_lane_waits_for_what_it_launched_even_where_the_model_fails() -> None:
    def fail(images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("illegal instruction")

    runtime = FakeRuntime()
    lane = CudaLane(LaneModel(fail, RECIPE, 3), max_batch=2, stream=runtime.open_stream(), runtime=runtime)
    with pytest.raises(RuntimeError, match="illegal"):
        lane.run(make_batch([1]))

    assert runtime.streams[0].finished == 1


@given(st.integers(1, 4096))
def test_buckets_ascend_to_the_largest_batch_by_a_factor_of_two_at_most(max_batch: int) -> None:
    buckets = list_buckets(max_batch)
    assert (buckets[0], buckets[-1]) == (1, max_batch)
    assert all(smaller < larger <= 2 * smaller for smaller, larger in pairwise(buckets))
