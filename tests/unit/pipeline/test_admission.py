import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.domain.requests import Priority
from bento_service.errors import DeadlineExceededError, OverloadedError
from bento_service.pipeline.admission import Admission, Permit
from bento_service.pipeline.wait_predictor import WaitPredictor
from tests.fakes.clock import FakeClock

TARGET_MS = 100.0
IMAGE_MS = 10.0
"""What each image ahead takes."""


def make_admission(
    *, computing: int = 0, bulk: int = 0, receiving: int = 0, max_queued: int = 100, max_receiving: int = 1000
) -> Admission:
    admission = Admission(
        WaitPredictor(capacity=1, clock=FakeClock()),
        target_ms=TARGET_MS,
        max_queued=max_queued,
        max_receiving=max_receiving,
    )
    for priority, count in ((Priority.INTERACTIVE, computing), (Priority.BULK, bulk)):
        for _ in range(count):
            enter(admission, priority).compute(IMAGE_MS)
    for _ in range(receiving):
        enter(admission)
    return admission


def enter(admission: Admission, priority: Priority = Priority.INTERACTIVE) -> Permit:
    """Take a place without asking."""
    permit = Permit(admission, priority)
    permit.enter()
    return permit


@given(
    computing=st.integers(0, 20),
    deadline_ms=st.none() | st.floats(1, 200),
    elapsed_ms=st.floats(0, 0.5),
)
def test_an_image_is_refused_just_where_its_wait_exceeds_seven_tenths_of_the_target_or_its_deadline(
    computing: int, deadline_ms: float | None, elapsed_ms: float
) -> None:
    admission = make_admission(computing=computing)
    wait_ms = computing * IMAGE_MS
    is_in_time = wait_ms <= 0.7 * TARGET_MS and (deadline_ms is None or wait_ms <= deadline_ms - elapsed_ms)
    try:
        admission.check(deadline_ms=deadline_ms, elapsed_ms=elapsed_ms)
    except OverloadedError as refusal:
        assert not is_in_time
        assert refusal.retry_after_s == pytest.approx(wait_ms / 1000)
    else:
        assert is_in_time
    if deadline_ms is None:
        assert admission.is_overloaded == (not is_in_time)


def test_an_image_that_would_wait_longer_than_the_target_allows_is_told_the_predicted_wait() -> None:
    with pytest.raises(
        OverloadedError,
        match="8 images are ahead, a predicted wait of 80 ms; the latency target of 100 ms allows 70 ms",
    ) as refusal:
        make_admission(computing=8).check()
    assert refusal.value.details["reason"] == "target"


def test_an_image_that_would_wait_past_its_own_deadline_is_told_so() -> None:
    with pytest.raises(OverloadedError, match="deadline of 80 ms is 40 ms away") as refusal:
        make_admission(computing=5).check(deadline_ms=80, elapsed_ms=40)
    assert refusal.value.details["reason"] == "deadline"


def test_a_deadline_that_has_passed_is_no_overload() -> None:
    with pytest.raises(DeadlineExceededError, match="deadline of 80 ms passed while the image was received"):
        make_admission(computing=4, max_queued=4).check(deadline_ms=80, elapsed_ms=80)


def test_images_that_are_being_received_take_no_place_in_the_queue() -> None:
    admission = make_admission(receiving=999, max_queued=1)
    admission.check()
    assert not admission.is_overloaded


def test_a_full_queue_refuses_with_a_time_that_a_place_may_take() -> None:
    admission = make_admission(computing=4, max_queued=4)
    with pytest.raises(OverloadedError, match="4 images wait for their answers, as many as may be") as refusal:
        admission.check(is_received=True)
    assert refusal.value.details["reason"] == "queue_full"
    assert refusal.value.retry_after_s == 1
    assert admission.is_overloaded


def test_only_so_many_images_are_received_at_a_time_and_those_that_have_arrived_pass() -> None:
    admission = make_admission(computing=5, receiving=1000)
    with pytest.raises(OverloadedError, match="1000 images are being received, as many as may be") as refusal:
        admission.check()
    assert refusal.value.details["reason"] == "receiving"
    assert refusal.value.retry_after_s == 1
    assert admission.is_overloaded
    admission.check(is_received=True)


def test_bulk_images_fill_half_of_the_queue_and_leave_the_rest_to_interactive_ones() -> None:
    admission = make_admission(bulk=4, max_queued=8)
    with pytest.raises(OverloadedError, match="4 bulk images wait for their answers"):
        admission.check(Priority.BULK)
    admission.check()


def test_a_bulk_image_that_would_wait_too_long_is_refused_where_an_interactive_one_is_admitted() -> None:
    admission = make_admission(bulk=30)
    with pytest.raises(OverloadedError, match="30 images are ahead"):
        admission.check(Priority.BULK)
    admission.check()


def test_an_image_counts_in_one_phase_at_a_time_from_entering_to_its_only_release() -> None:
    seen: list[int] = []
    admission = Admission(
        WaitPredictor(capacity=1, clock=FakeClock()),
        target_ms=TARGET_MS,
        max_queued=1,
        max_receiving=1,
        on_change=seen.append,
    )
    permit = admission.admit()
    assert admission.in_flight == 0
    permit.enter()
    with pytest.raises(OverloadedError, match="being received"):
        admission.check()
    assert permit.wait_at_cache()
    admission.check()
    other = enter(admission)
    assert not other.wait_at_cache()
    permit.compute(IMAGE_MS)
    with pytest.raises(OverloadedError, match="wait for their answers"):
        admission.check(is_received=True)
    assert other.wait_at_cache()
    for each in (permit, permit, other):
        each.release()
    admission.check()
    assert (admission.in_flight, admission.predictor.predict_wait_ms()) == (0, 0)
    assert seen == [1, 2, 1, 0]
