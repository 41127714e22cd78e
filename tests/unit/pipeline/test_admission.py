import pytest

from bento_service.domain.requests import Priority
from bento_service.errors import DeadlineExceededError, OverloadedError
from bento_service.pipeline.admission import Gate
from bento_service.pipeline.wait_predictor import WaitPredictor, WorkEstimate
from tests.fakes.clock import FakeClock


def make_gate(
    *, received: int = 0, bulk: int = 0, uploading: int = 0, max_queued: int = 100, max_receiving: int = 1000
) -> Gate:
    """Make a gate for a target of 100 ms behind which each image ahead takes 10 ms."""
    predictor = WaitPredictor(initial_pace=10, capacity=1, clock=FakeClock())
    for _ in range(received):
        predictor.admit()
        predictor.receive(WorkEstimate(1.0))
    for _ in range(bulk):
        predictor.admit()
        predictor.receive(WorkEstimate(1.0, Priority.BULK))
    for _ in range(uploading):
        predictor.admit()
    return Gate(predictor, target_ms=100, max_queued=max_queued, max_receiving=max_receiving)


def test_an_image_that_would_wait_exactly_as_long_as_the_target_allows_comes_in() -> None:
    make_gate(received=7).check_wait(deadline_ms=None, elapsed_ms=0)


def test_an_image_that_would_wait_longer_than_the_target_allows_is_refused_with_the_time_until_the_line_is_clear() -> (
    None
):
    with pytest.raises(
        OverloadedError,
        match="a predicted wait of 80 ms; the latency target of 100 ms allows 70 ms",
    ) as refusal:
        make_gate(received=8).check_wait(deadline_ms=None, elapsed_ms=0)
    assert refusal.value.details["reason"] == "target"
    assert refusal.value.retry_after_s == pytest.approx(0.08)


def test_an_image_that_would_wait_past_its_own_deadline_is_refused() -> None:
    with pytest.raises(OverloadedError, match="deadline of 80 ms is 40 ms away") as refusal:
        make_gate(received=5).check_wait(deadline_ms=80, elapsed_ms=40)
    assert refusal.value.details["reason"] == "deadline"
    assert refusal.value.retry_after_s > 0


def test_a_deadline_that_has_passed_is_the_clients_problem_not_an_overload() -> None:
    with pytest.raises(DeadlineExceededError, match="deadline of 80 ms passed while the image was received"):
        make_gate().check_wait(deadline_ms=80, elapsed_ms=80)


def test_an_idle_server_refuses_nobody() -> None:
    gate = make_gate()
    gate.check_receiving()
    gate.check_place()
    gate.check_wait(deadline_ms=0.001, elapsed_ms=0)


def test_clients_that_send_slowly_take_no_place_in_the_queue() -> None:
    gate = make_gate(uploading=999, max_queued=1)
    gate.check_receiving()
    gate.check_place()


def test_a_full_queue_is_refused_with_a_sensible_time() -> None:
    with pytest.raises(OverloadedError, match="4 images wait for their answers, as many as may be") as refusal:
        make_gate(received=4, max_queued=4).check_place()
    assert refusal.value.details["reason"] == "queue_full"
    assert refusal.value.retry_after_s == 1


def test_as_many_uploads_as_may_be_are_refused_a_further_one_with_a_sensible_time() -> None:
    with pytest.raises(OverloadedError, match="1000 images are being received, as many as may be") as refusal:
        make_gate(received=5, uploading=1000).check_receiving()
    assert refusal.value.details["reason"] == "receiving"
    assert refusal.value.retry_after_s == 1


def test_bulk_images_fill_half_of_the_queue_and_leave_the_rest_to_whoever_waits() -> None:
    gate = make_gate(bulk=4, max_queued=8)
    with pytest.raises(OverloadedError, match="4 bulk images wait for their answers"):
        gate.check_place(Priority.BULK)
    gate.check_place()


def test_a_bulk_image_that_would_wait_too_long_is_refused_where_an_interactive_one_comes_in() -> None:
    gate = make_gate(bulk=30)
    with pytest.raises(OverloadedError, match="30 images are ahead"):
        gate.check_wait(Priority.BULK, deadline_ms=None, elapsed_ms=0)
    gate.check_wait(deadline_ms=None, elapsed_ms=0)
