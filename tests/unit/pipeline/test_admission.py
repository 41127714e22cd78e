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


class AdmissionDesk(Admission):
    """An admission with images in it; `seen` has the numbers in flight that it reported."""

    def __init__(
        self, *, computing: int = 0, bulk: int = 0, receiving: int = 0, max_queued: int = 100, max_receiving: int = 1000
    ) -> None:
        self.seen: list[int] = []
        super().__init__(
            WaitPredictor(capacity=1, clock=FakeClock()),
            target_ms=TARGET_MS,
            max_queued=max_queued,
            max_receiving=max_receiving,
            on_change=self.seen.append,
        )
        for priority, count in ((Priority.INTERACTIVE, computing), (Priority.BULK, bulk)):
            for _ in range(count):
                self.enter(priority).start_computing(IMAGE_MS)
        for _ in range(receiving):
            self.enter()

    def enter(self, priority: Priority = Priority.INTERACTIVE) -> Permit:
        """Take a place without a check."""
        permit = Permit(self, priority)
        permit.start_receiving()
        return permit


@given(computing=st.integers(0, 20), deadline_ms=st.none() | st.floats(1, 200), elapsed_ms=st.floats(0, 0.5))
def test_an_image_is_rejected_where_its_wait_exceeds_target_or_deadline(
    computing: int, deadline_ms: float | None, elapsed_ms: float
) -> None:
    admission = AdmissionDesk(computing=computing)
    wait_ms = computing * IMAGE_MS
    is_in_time = wait_ms <= 0.7 * TARGET_MS and (deadline_ms is None or wait_ms <= deadline_ms - elapsed_ms)
    try:
        admission.check(deadline_ms=deadline_ms, elapsed_ms=elapsed_ms)
    except OverloadedError as rejection:
        assert not is_in_time
        assert rejection.retry_after_s == pytest.approx(wait_ms / 1000)
    else:
        assert is_in_time
    if deadline_ms is None:
        assert admission.is_overloaded == (not is_in_time)


WAIT = "8 images are ahead, a predicted wait of 80 ms; the latency target of 100 ms allows 70 ms"


@pytest.mark.parametrize(
    ("admission", "deadline_ms", "message", "reason", "retry_after_s"),
    [
        (AdmissionDesk(computing=8), None, WAIT, "target", 0.08),
        (AdmissionDesk(computing=5), 80, "deadline of 80 ms is 40 ms away", "deadline", 0.05),
        (AdmissionDesk(computing=4, max_queued=4), None, "4 images wait for their answers", "queue_full", 1),
        (AdmissionDesk(receiving=1000), None, "1000 images are being received, as many", "receiving", 1),
    ],
)
def test_a_rejection_says_why_and_when_to_try_again(
    admission: Admission, deadline_ms: float | None, message: str, reason: str, retry_after_s: float
) -> None:
    with pytest.raises(OverloadedError, match=message) as rejection:
        admission.check(deadline_ms=deadline_ms, elapsed_ms=40)
    assert rejection.value.details["reason"] == reason
    assert rejection.value.retry_after_s == pytest.approx(retry_after_s)
    assert admission.is_overloaded == (deadline_ms is None)


def test_a_deadline_that_has_passed_is_no_overload() -> None:
    with pytest.raises(DeadlineExceededError, match="deadline of 80 ms passed while the image was received"):
        AdmissionDesk(computing=4, max_queued=4).check(deadline_ms=80, elapsed_ms=80)


def test_images_being_received_take_no_place_in_the_queue() -> None:
    admission = AdmissionDesk(receiving=999, max_queued=1)
    admission.check()
    assert not admission.is_overloaded


def test_a_received_image_needs_no_place_among_those_being_received() -> None:
    AdmissionDesk(computing=5, receiving=1000).check(is_received=True)


@pytest.mark.parametrize(
    ("bulk", "max_queued", "message"),
    [(4, 8, "4 bulk images wait for their answers"), (30, 100, "30 images are ahead")],
    ids=["half of the places", "wait"],
)
def test_bulk_images_leave_places_and_time_to_interactive_ones(bulk: int, max_queued: int, message: str) -> None:
    admission = AdmissionDesk(bulk=bulk, max_queued=max_queued)
    with pytest.raises(OverloadedError, match=message):
        admission.check(Priority.BULK)
    admission.check()


def test_an_image_counts_in_one_phase_at_a_time_until_its_release() -> None:
    admission = AdmissionDesk(max_queued=1, max_receiving=1)
    permit = admission.admit()
    assert admission.in_flight == 0
    permit.start_receiving()
    with pytest.raises(OverloadedError, match="being received"):
        admission.check()
    assert permit.start_lookup()
    admission.check()
    other = admission.enter()
    assert not other.start_lookup()
    permit.start_computing(IMAGE_MS)
    with pytest.raises(OverloadedError, match="wait for their answers"):
        other.check_again()
    assert other.start_lookup()
    for each in (permit, permit, other):
        each.release()
    admission.check()
    assert (admission.in_flight, admission.predictor.predict_wait_ms()) == (0, 0)
    assert admission.seen == [1, 2, 1, 0]
