"""However a request ends, it leaves one true receipt and no place taken."""

import asyncio
import hashlib

import pytest

from bento_service.domain.requests import Receipt
from bento_service.errors import (
    ClientGoneError,
    DeadlineExceededError,
    ImageTooLargeError,
    InferenceFailedError,
    InvalidParameterError,
    LightboxError,
    MissingImageError,
    OverloadedError,
    TooManyPixelsError,
    UndecodableImageError,
    UnknownModelError,
    UnsupportedFormatError,
)
from tests.fakes.clock import FakeTimeLoop, TickingClock
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import Kitchen, encode_image, fake_clock, running

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


def check_left_nothing(kitchen: Kitchen) -> None:
    assert kitchen.classifier.in_flight == 0
    assert kitchen.classifier.predicted_wait_ms == 0
    assert len(kitchen.queue) == 0


def sum_stages(receipt: Receipt) -> float:
    timings = receipt.timings
    return timings.receive_ms + timings.decode_ms + timings.queue_ms + timings.inference_ms


@pytest.mark.parametrize(
    ("encoded", "error"),
    [
        (b"", MissingImageError),
        (b"hello", UnsupportedFormatError),
        (encode_image(file_format="JPEG")[:300], UndecodableImageError),
        (encode_image()[:50], UndecodableImageError),
        (encode_image(width_px=200, height_px=51), TooManyPixelsError),
        (b"\xff" * 100_001, ImageTooLargeError),
    ],
    ids=["empty", "no image", "truncated JPEG", "truncated PNG", "too many pixels", "too many bytes"],
)
async def test_an_image_that_the_intake_refuses_reaches_no_model_and_leaves_its_code_digest_and_cost(
    encoded: bytes, error: type[Exception]
) -> None:
    infer = FakeInfer()
    async with running({"a": infer}, clock=TickingClock()) as kitchen:
        with pytest.raises(error) as refusal:
            await kitchen.classify(encoded)
    receipt = kitchen.receipt
    assert receipt.outcome == getattr(refusal.value, "code", None)
    assert receipt.digest == hashlib.sha256(encoded).hexdigest()
    assert (receipt.top, receipt.image, receipt.batch_size, receipt.dispatch) == ((), None, 0, "")
    assert receipt.timings.decode_ms > 0
    assert sum_stages(receipt) <= receipt.timings.total_ms + 1e-6
    assert infer.calls == []
    check_left_nothing(kitchen)


@pytest.mark.parametrize(("min_oversampling", "warnings"), [(None, ()), (3, ("scaled_decoding",))])
async def test_a_large_jpeg_is_scaled_while_decoding_only_where_the_operator_asks_for_it(
    min_oversampling: int | None, warnings: tuple[str, ...]
) -> None:
    async with running({"model": FakeInfer()}, min_oversampling=min_oversampling) as kitchen:
        with kitchen.open() as pending:
            answer = await pending.classify(encode_image(width_px=96, height_px=96, file_format="JPEG"))
    assert answer.warnings == kitchen.receipt.warnings == warnings


async def test_an_image_on_which_the_model_fails_is_told_apart_from_its_neighbours() -> None:
    infer = FakeInfer(poison=[13])
    async with running({"a": infer}) as kitchen:
        infer.gate.clear()
        first = await kitchen.start(encode_image(1))
        await asyncio.to_thread(infer.wait_for_lane)
        neighbour = await kitchen.start_and_queue(encode_image(12))
        culprit = await kitchen.start_and_queue(encode_image(13))
        infer.gate.set()
        await first
        answer = await neighbour
        with pytest.raises(InferenceFailedError):
            await culprit
    assert answer.receipt.dispatch == "bisected"
    failed = kitchen.notebook.receipts[-1]
    assert (failed.outcome, failed.top, failed.batch_size) == ("inference_failed", (), 0)
    assert failed.image is not None
    check_left_nothing(kitchen)


async def test_a_deadline_that_passes_while_the_image_is_sent_costs_no_decoding() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with (
            pytest.raises(DeadlineExceededError, match="while the image was received"),
            kitchen.open(deadline_ms=30) as pending,
        ):
            fake_clock().advance_ms(31)
            await pending.classify(encode_image())
    receipt = kitchen.receipt
    assert (receipt.outcome, receipt.digest, receipt.timings.decode_ms) == ("deadline_exceeded", "", 0)
    assert receipt.timings.receive_ms == pytest.approx(31)
    check_left_nothing(kitchen)


async def test_a_deadline_that_passes_before_a_decode_thread_is_free_costs_no_decoding() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as kitchen:
        thread_is_free = kitchen.block_decoding()
        task = await kitchen.start(encode_image(), deadline_ms=30)
        fake_clock().advance_ms(31)
        with pytest.raises(DeadlineExceededError, match="30 ms passed before the answer was ready"):
            await task
        check_left_nothing(kitchen)
        thread_is_free.set()
        await kitchen.flush_decoding()
    assert (kitchen.receipt.outcome, kitchen.receipt.digest) == ("deadline_exceeded", "")
    assert kitchen.receipt.timings.total_ms == pytest.approx(31)
    assert infer.calls == []


async def test_a_deadline_that_passes_in_the_queue_costs_no_inference() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as kitchen:
        infer.gate.clear()
        first = await kitchen.start(encode_image(1))
        await asyncio.to_thread(infer.wait_for_lane)
        late = await kitchen.start_and_queue(encode_image(2), deadline_ms=30)
        fake_clock().advance_ms(31)
        with pytest.raises(DeadlineExceededError):
            await late
        assert len(kitchen.queue) == 0
        infer.gate.set()
        await first
    assert infer.computed == {1}
    receipt = kitchen.notebook.receipts[0]
    assert receipt.outcome == "deadline_exceeded"
    assert receipt.image is not None
    check_left_nothing(kitchen)


async def test_a_deadline_that_passes_during_inference_is_kept_all_the_same() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as kitchen:
        infer.gate.clear()
        task = await kitchen.start(encode_image(), deadline_ms=30)
        await asyncio.to_thread(infer.wait_for_lane)
        fake_clock().advance_ms(31)
        with pytest.raises(DeadlineExceededError):
            await task
        check_left_nothing(kitchen)
        infer.gate.set()
    assert kitchen.receipt.outcome == "deadline_exceeded"
    assert kitchen.receipt.top == ()


async def test_an_answer_within_its_deadline_is_an_answer() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        answer = await kitchen.classify(encode_image(), deadline_ms=30)
    assert answer.receipt.outcome == "ok"


async def test_a_client_that_hangs_up_before_its_image_is_decoded_frees_its_place() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as kitchen:
        thread_is_free = kitchen.block_decoding()
        task = await kitchen.start(encode_image())
        assert kitchen.classifier.in_flight == 1
        task.cancel()
        await asyncio.wait([task])
        check_left_nothing(kitchen)
        thread_is_free.set()
        await kitchen.flush_decoding()
    assert task.cancelled()
    assert kitchen.receipt.outcome == "cancelled"
    assert infer.calls == []


async def test_a_client_that_hangs_up_in_the_queue_frees_its_place_and_costs_no_inference() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as kitchen:
        infer.gate.clear()
        first = await kitchen.start(encode_image(1))
        await asyncio.to_thread(infer.wait_for_lane)
        gone = await kitchen.start_and_queue(encode_image(2))
        gone.cancel()
        await asyncio.wait([gone])
        assert kitchen.classifier.in_flight == 1
        assert len(kitchen.queue) == 0
        infer.gate.set()
        await first
    cancelled = kitchen.notebook.receipts[0]
    assert (cancelled.outcome, cancelled.digest) == ("cancelled", hashlib.sha256(encode_image(2)).hexdigest())
    assert infer.computed == {1}
    check_left_nothing(kitchen)


async def test_a_client_that_never_sends_its_image_is_recorded_by_how_it_left() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with pytest.raises(ClientGoneError), kitchen.open():
            fake_clock().advance_ms(5)
            raise ClientGoneError("The client hung up.")
    assert kitchen.receipt.outcome == ClientGoneError.code
    assert kitchen.receipt.timings.receive_ms == kitchen.receipt.timings.total_ms == pytest.approx(5)
    check_left_nothing(kitchen)


async def test_a_client_that_goes_as_its_answer_is_ready_counts_as_gone() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with pytest.raises(ClientGoneError), kitchen.open() as pending:
            await pending.classify(encode_image())
            raise ClientGoneError("The client hung up.")
    assert kitchen.receipt.outcome == ClientGoneError.code
    assert kitchen.receipt.batch_size == 1


async def test_what_a_request_costs_after_it_has_arrived_is_not_receiving() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with pytest.raises(UnsupportedFormatError), kitchen.open() as pending:
            fake_clock().advance_ms(5)
            try:
                await pending.classify(b"hello")
            finally:
                fake_clock().advance_ms(2)
    assert kitchen.receipt.timings.receive_ms == pytest.approx(5)
    assert kitchen.receipt.timings.total_ms == pytest.approx(7)


async def test_an_image_shed_for_memory_as_it_came_in_is_told_to_the_observers_once() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with pytest.raises(OverloadedError), kitchen.open():
            raise OverloadedError("Too many bytes are in memory.", retry_after_s=1.0, reason="memory")
    assert kitchen.notebook.sheds == ["memory"]
    assert kitchen.receipt.outcome == "overloaded"
    check_left_nothing(kitchen)


async def test_a_request_may_say_after_admission_what_it_asks_for() -> None:
    async with running({"a": FakeInfer(0), "b": FakeInfer(1)}) as kitchen:
        with kitchen.open() as pending:
            pending.change_parameters(model="b", top_k=3, deadline_ms=30)
            answer = await pending.classify(encode_image())
    assert (answer.receipt.model, answer.receipt.model_version) == ("b", "v-b")
    assert len(answer.predictions) == 3
    check_left_nothing(kitchen)


async def test_a_deadline_that_is_asked_for_after_admission_counts_from_the_requests_start() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with pytest.raises(DeadlineExceededError), kitchen.open() as pending:
            fake_clock().advance_ms(31)
            pending.change_parameters(model=None, top_k=1, deadline_ms=30)
            await pending.classify(encode_image())
    assert (kitchen.receipt.outcome, kitchen.receipt.model) == ("deadline_exceeded", "a")
    check_left_nothing(kitchen)


@pytest.mark.parametrize(
    ("model", "top_k", "deadline_ms", "error", "blamed"),
    [
        ("resnet", 1, None, UnknownModelError, ""),
        ("a", 4, None, InvalidParameterError, "a"),
        ("a", 1, -1.0, InvalidParameterError, "a"),
    ],
    ids=["unknown model", "top_k", "deadline_ms"],
)
async def test_what_is_asked_for_after_admission_is_held_to_the_same_limits(
    model: str, top_k: int, deadline_ms: float | None, error: type[LightboxError], blamed: str
) -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with pytest.raises(error), kitchen.open() as pending:
            pending.change_parameters(model=model, top_k=top_k, deadline_ms=deadline_ms)
    assert (kitchen.receipt.outcome, kitchen.receipt.model) == (error.code, blamed)
    check_left_nothing(kitchen)


async def test_a_defect_of_our_own_leaves_a_receipt_too() -> None:
    async with running({"a": FakeInfer()}) as kitchen:
        with pytest.raises(ZeroDivisionError), kitchen.open():
            raise ZeroDivisionError
    assert kitchen.receipt.outcome == "internal_error"
    check_left_nothing(kitchen)
