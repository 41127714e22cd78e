import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bento_service.domain.runner import DispatchReason, EngineMode
from bento_service.errors import DeadlineExceededError, InferenceFailedError, OutOfMemoryError
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.execution import run_batch
from bento_service.scheduling.queue import WorkQueue
from bento_service.scheduling.work import Batch, Completion, Infer, InferWithFeatures, Result
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeInfer, expected_features, expected_scores
from tests.fakes.scheduling import make_batch, make_item


class OtherLanesRunWell(WorkQueue):
    """A queue whose model runs well on another lane between any two failures."""

    def note_failure(self, batch: Batch, size: int) -> bool:
        return size == 1

    def note_out_of_memory(self, batch: Batch, size: int) -> bool:
        return size == 1


class Bench:
    """A lane's clock and queue."""

    def __init__(self, kind: type[WorkQueue] = WorkQueue) -> None:
        self.clock = FakeClock(100.0)
        self.out_of_memory = 0
        self.queue = kind(
            {"a": {EngineMode.THROUGHPUT: CostModel({1: 1.0, 32: 32.0})}},
            lanes=1,
            target_ms=1000,
            clock=self.clock,
            on_expired=lambda items: None,
            on_out_of_memory=self._count,
        )

    def run(self, infer: Infer, size: int, *, enqueued_s: float = 100.0) -> list[Result]:
        """Run the images 0..size-1 as one batch."""
        batch = make_batch([make_item(value, enqueued_s=enqueued_s) for value in range(size)])
        results = self.run_batch(infer, batch)
        assert [item for item, _ in results] == list(batch.items)
        return results

    def run_batch(self, infer: Infer, batch: Batch, with_features: InferWithFeatures | None = None) -> list[Result]:
        return list(
            run_batch(
                infer,
                batch,
                queue=self.queue,
                clock=self.clock,
                pause=self.clock.advance,
                infer_with_features=with_features,
            )
        )

    def fail_once(self, error: Exception) -> FakeInfer:
        """Make a model whose first run fails after a second, whatever it is given."""
        errors = [error]

        def on_call(size: int) -> None:
            self.clock.advance(1)
            if errors:
                raise errors.pop()

        return FakeInfer(on_call=on_call)

    def _count(self) -> None:
        self.out_of_memory += 1


def outcomes(results: list[Result]) -> list[Completion]:
    completions = [outcome for _, outcome in results if isinstance(outcome, Completion)]
    assert len(completions) == len(results)
    return completions


@given(poison=st.sets(st.integers(0, 31)), size=st.integers(1, 32))
def test_exactly_the_poisonous_images_fail_and_are_found_in_few_runs(poison: set[int], size: int) -> None:
    infer = FakeInfer(poison=poison)
    results = Bench().run(infer, size)
    failed = {value for value, (_, outcome) in enumerate(results) if isinstance(outcome, InferenceFailedError)}
    assert failed == {value for value in poison if value < size}
    for value, (_, outcome) in enumerate(results):
        if isinstance(outcome, Completion):
            assert np.array_equal(outcome.scores, expected_scores(value))
    assert len(infer.calls) <= 2 * len(failed) * math.ceil(math.log2(size)) + len(failed) + 1


def test_after_a_failed_batch_each_good_run_has_its_own_size_and_reason() -> None:
    bench = Bench()
    completions = outcomes(bench.run(FakeInfer(poison=[3]), 4)[:3])
    assert [completion.batch_size for completion in completions] == [2, 2, 1]
    assert {completion.reason for completion in completions} == {DispatchReason.BISECTED}
    dispatches = [(dispatch.batch_size, dispatch.reason) for dispatch in bench.queue.recent_dispatches()]
    assert dispatches == [(1, DispatchReason.BISECTED), (2, DispatchReason.BISECTED)]


def test_the_cause_of_a_failure_is_chained_and_not_in_the_message() -> None:
    [(_, error)] = Bench().run(FakeInfer(poison=[0], error=lambda: RuntimeError("at 0xdeadbeef")), 1)
    assert isinstance(error, InferenceFailedError)
    assert "0xdeadbeef" not in error.message
    assert str(error.__cause__) == "at 0xdeadbeef"


def test_an_image_whose_scores_are_not_finite_fails_alone() -> None:
    def infer(batch_nhwc: NDArray[np.uint8], mode: EngineMode, /) -> NDArray[np.float32]:
        scores = np.stack([expected_scores(int(value)) for value in batch_nhwc[:, 0, 0, 0]])
        scores[batch_nhwc[:, 0, 0, 0] == 1] = np.nan
        return scores

    results = Bench().run(infer, 3)
    assert [isinstance(outcome, InferenceFailedError) for _, outcome in results] == [False, True, False]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_an_answer_of_the_wrong_length_is_the_models_failure(rows: int) -> None:
    def infer(batch_nhwc: NDArray[np.uint8], mode: EngineMode, /) -> NDArray[np.float32]:
        return np.zeros((rows if len(batch_nhwc) > 1 else 0, 3), dtype=np.float32)

    assert all(isinstance(outcome, InferenceFailedError) for _, outcome in Bench().run(infer, 2))


@pytest.mark.parametrize(("poison", "queue_ms"), [((), 500), ((1,), 509)], ids=["good", "failed first"])
def test_all_that_is_before_the_good_run_is_waiting(poison: tuple[int, ...], queue_ms: float) -> None:
    bench = Bench()
    infer = FakeInfer(poison=poison, on_call=lambda size: bench.clock.advance_ms(9))
    [completion] = outcomes(bench.run(infer, 2, enqueued_s=99.5)[:1])
    assert (completion.queue_ms, completion.inference_ms) == pytest.approx((queue_ms, 9))


def test_a_transient_fault_costs_no_answer() -> None:
    bench = Bench()
    [completion] = outcomes(bench.run(bench.fail_once(RuntimeError("hiccup")), 1))
    assert completion.reason is DispatchReason.BISECTED


@pytest.mark.parametrize("error", [RuntimeError, lambda: OutOfMemoryError("no memory at all")])
def test_an_image_gets_one_second_try_though_other_lanes_run_the_model_well(error: Callable[[], Exception]) -> None:
    infer = FakeInfer(poison=[0], error=error)
    [(_, outcome)] = Bench(OtherLanesRunWell).run(infer, 1)
    assert isinstance(outcome, InferenceFailedError)
    assert len(infer.calls) == 2


@pytest.mark.parametrize("error", [OutOfMemoryError, MemoryError])
def test_a_batch_that_met_out_of_memory_runs_in_halves(error: type[Exception]) -> None:
    def check(size: int) -> None:
        if size > 2:
            raise error(f"no memory for {size}")

    bench = Bench()
    completions = outcomes(bench.run(FakeInfer(on_call=check), 8))
    assert {(completion.batch_size, completion.reason) for completion in completions} == {(2, DispatchReason.SHRUNK)}
    assert bench.out_of_memory == 3


def test_memory_that_was_short_for_a_moment_costs_a_lone_image_no_answer() -> None:
    def check(size: int) -> None:
        if bench.clock() < 100.02:
            raise OutOfMemoryError("another lane has it all")

    bench, infer = Bench(), FakeInfer(on_call=check)
    [completion] = outcomes(bench.run(infer, 1))
    assert completion.reason is DispatchReason.SHRUNK
    assert completion.queue_ms == pytest.approx(50)
    assert len(infer.calls) == 2


def test_a_model_that_never_fits_costs_one_pause_and_then_one_run_an_image() -> None:
    bench, infer = Bench(), FakeInfer(poison=range(4), error=lambda: OutOfMemoryError("no memory at all"))
    assert all(isinstance(outcome, InferenceFailedError) for _, outcome in bench.run(infer, 4))
    assert [len(call) for call in infer.calls] == [4, 2, 1, 1, 1, 2, 1, 1]
    assert bench.clock() == pytest.approx(100.05)


def test_cancelled_and_late_images_of_a_failed_batch_are_not_run_again() -> None:
    bench = Bench()
    infer = bench.fail_once(RuntimeError("slow, then broken"))
    gone, late, kept = make_item(0), make_item(1, deadline_s=100.5), make_item(2)
    gone.future.cancel()
    results = dict(bench.run_batch(infer, make_batch([gone, late, kept])))
    assert gone not in results
    assert isinstance(results[late], DeadlineExceededError)
    assert isinstance(results[kept], Completion)
    assert infer.calls[1:] == [(2,)]


def test_a_batch_gives_features_to_the_images_that_want_them_alone() -> None:
    bench, infer = Bench(), FakeInfer(poison=[2], features=expected_features)
    items = [make_item(value, enqueued_s=100.0, wants_features=value % 2 == 0) for value in range(4)]
    batch = make_batch(items)
    results = dict(
        run_batch(infer, batch, queue=bench.queue, clock=bench.clock, infer_with_features=infer.with_features)
    )
    answered = {item: outcome for item, outcome in results.items() if isinstance(outcome, Completion)}
    assert set(answered) == {items[0], items[1], items[3]}
    features = answered[items[0]].features
    assert features is not None
    assert np.array_equal(features, expected_features(0))
    assert answered[items[1]].features is answered[items[3]].features is None


def test_a_batch_without_a_wish_for_features_and_a_model_without_them_run_as_ever() -> None:
    bench, infer = Bench(), FakeInfer(features=expected_features)
    plain = make_batch([make_item(0), make_item(1)])
    bench.run_batch(infer, plain, infer.with_features)
    assert infer.calls_with_features == 0
    [completion] = outcomes(bench.run_batch(infer, make_batch([make_item(0, wants_features=True)])))
    assert completion.features is None
