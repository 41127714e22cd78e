"""However a request ends, it leaves one true receipt and no place taken."""

import asyncio
import hashlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from bento_service.errors import (
    ClientGoneError,
    DeadlineExceededError,
    ImageTooLargeError,
    InferenceFailedError,
    MissingImageError,
    OverloadedError,
    TooManyPixelsError,
    UndecodableImageError,
    UnsupportedFormatError,
)
from tests.fakes.clock import TickingClock
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import RECIPE, encode_image, fake_clock, running

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("encoded", "error"),
    [
        pytest.param(b"", MissingImageError, id="empty"),
        pytest.param(b"hello", UnsupportedFormatError, id="no image"),
        pytest.param(encode_image(file_format="JPEG")[:300], UndecodableImageError, id="truncated JPEG"),
        pytest.param(encode_image()[:50], UndecodableImageError, id="truncated PNG"),
        pytest.param(encode_image(width_px=200, height_px=51), TooManyPixelsError, id="too many pixels"),
        pytest.param(b"\xff" * 100_001, ImageTooLargeError, id="too many bytes"),
    ],
)
async def test_an_image_that_cannot_be_decoded_leaves_its_code_digest_and_cost(
    encoded: bytes, error: type[Exception]
) -> None:
    infer = FakeInfer()
    async with running({"a": infer}, clock=TickingClock()) as observed:
        with pytest.raises(error) as refusal:
            await observed.classify(encoded)
    receipt, timings = observed.receipt, observed.receipt.timings
    assert receipt.outcome == getattr(refusal.value, "code", None)
    assert receipt.digest == hashlib.sha256(encoded).hexdigest()
    assert (receipt.top, receipt.image, receipt.batch_size, receipt.dispatch) == ((), None, 0, "")
    assert timings.decode_ms > 0
    assert timings.receive_ms + timings.decode_ms + timings.queue_ms <= timings.total_ms + 1e-6
    assert infer.calls == []
    observed.check_left_nothing()


async def test_a_grey_model_of_independent_scores_gets_one_channel_and_says_what_its_scores_are() -> None:
    shapes = list[tuple[int, ...]]()

    def infer(batch_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        shapes.append(batch_nhwc.shape)
        return np.array([[0.9, 0.8, 0.1]], np.float32)

    grey = replace(RECIPE, channels="grey", fit="letterbox")
    async with running({"a": infer}, recipe=grey, score_kind="independent") as observed:
        answer = await observed.classify(encode_image(), top_k=3)

    assert shapes == [(1, 8, 8, 1)]
    assert [round(prediction.score, 1) for prediction in answer.predictions] == [0.9, 0.8, 0.1]
    assert observed.receipt.score_kind == "independent"


@pytest.mark.parametrize(("min_oversampling", "warnings"), [(None, ()), (3, ("scaled_decoding",))])
async def test_a_large_jpeg_is_scaled_while_decoding_only_by_setting(
    min_oversampling: int | None, warnings: tuple[str, ...]
) -> None:
    async with running({"model": FakeInfer()}, min_oversampling=min_oversampling) as observed:
        answer = await observed.classify(encode_image(width_px=96, height_px=96, file_format="JPEG"))
    assert answer.warnings == observed.receipt.warnings == warnings


async def test_an_image_on_which_the_model_fails_does_not_fail_its_neighbours() -> None:
    infer = FakeInfer(poison=[13])
    async with running({"a": infer}) as observed:
        first = await observed.occupy_lane(infer)
        neighbour = await observed.start_and_queue(encode_image(12))
        culprit = await observed.start_and_queue(encode_image(13))
        infer.gate.set()
        await first
        answer = await neighbour
        with pytest.raises(InferenceFailedError):
            await culprit
    assert answer.receipt.dispatch == "bisected"
    failed = observed.observer.receipts[-1]
    assert (failed.outcome, failed.top, failed.batch_size) == ("inference_failed", (), 0)
    assert failed.image is not None
    observed.check_left_nothing()


@pytest.mark.parametrize("is_asked_later", [False, True])
async def test_a_deadline_that_passes_while_sending_costs_no_decoding(*, is_asked_later: bool) -> None:
    async with running({"a": FakeInfer()}) as observed:
        with (
            pytest.raises(DeadlineExceededError, match="while the image was received"),
            observed.open(deadline_ms=None if is_asked_later else 30) as pending,
        ):
            fake_clock().advance_ms(31)
            if is_asked_later:
                pending.change_parameters(model=None, top_k=1, deadline_ms=30)
            await pending.classify(encode_image())
    receipt = observed.receipt
    assert (receipt.outcome, receipt.digest, receipt.timings.decode_ms) == ("deadline_exceeded", "", 0)
    assert receipt.timings.receive_ms == pytest.approx(31)
    observed.check_left_nothing()


@pytest.mark.parametrize("is_deadline", [True, False])
async def test_a_request_that_ends_before_decoding_costs_none(*, is_deadline: bool) -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as observed:
        thread_is_free = observed.block_decoding()
        task = await observed.start(encode_image(), deadline_ms=30)
        assert observed.classifier.in_flight == 1
        if is_deadline:
            fake_clock().advance_ms(31)
        else:
            task.cancel()
        await asyncio.wait([task])
        observed.check_left_nothing()
        thread_is_free.set()
        await observed.flush_decoding()
    assert observed.receipt.outcome == ("deadline_exceeded" if is_deadline else "cancelled")
    assert (observed.receipt.digest, observed.receipt.timings.decode_ms) == ("", 0)
    assert observed.receipt.timings.total_ms == pytest.approx(31 if is_deadline else 0)
    assert infer.calls == []


@pytest.mark.parametrize("is_deadline", [True, False])
async def test_a_request_that_ends_in_the_queue_costs_no_inference(*, is_deadline: bool) -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as observed:
        first = await observed.occupy_lane(infer)
        task = await observed.start_and_queue(encode_image(2), deadline_ms=30)
        if is_deadline:
            fake_clock().advance_ms(31)
        else:
            task.cancel()
        await asyncio.wait([task])
        assert (observed.classifier.in_flight, len(observed.queue)) == (1, 0)
        infer.gate.set()
        await first
    receipt = observed.observer.receipts[0]
    assert receipt.outcome == ("deadline_exceeded" if is_deadline else "cancelled")
    assert receipt.digest == hashlib.sha256(encode_image(2)).hexdigest()
    assert receipt.image is not None
    assert infer.computed == {1}
    observed.check_left_nothing()


async def test_a_decode_thread_drops_an_image_whose_deadline_has_passed() -> None:
    async with running({"a": FakeInfer()}) as observed:
        thread_is_free = observed.block_decoding()
        task = await observed.start(encode_image(), deadline_ms=30)
        fake_clock().advance_ms(31)
        thread_is_free.set()
        # Here the event loop is late: it cannot withdraw the image.
        observed.wait_for_decoding()
        await asyncio.wait([task])
    assert (observed.receipt.outcome, observed.receipt.digest) == ("deadline_exceeded", "")


async def test_a_deadline_that_passes_during_inference_is_kept() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as observed:
        infer.gate.clear()
        task = await observed.start(encode_image(), deadline_ms=30)
        await asyncio.to_thread(infer.wait_for_lane)
        fake_clock().advance_ms(31)
        with pytest.raises(DeadlineExceededError, match="30 ms passed before the answer was ready"):
            await task
        observed.check_left_nothing()
        infer.gate.set()
    assert (observed.receipt.outcome, observed.receipt.top) == ("deadline_exceeded", ())


async def test_a_client_that_sends_no_image_leaves_a_receipt() -> None:
    async with running({"a": FakeInfer()}) as observed:
        with pytest.raises(ClientGoneError), observed.open():
            fake_clock().advance_ms(5)
            raise ClientGoneError("The client hung up.")
    assert observed.receipt.outcome == ClientGoneError.code
    assert observed.receipt.timings.receive_ms == observed.receipt.timings.total_ms == pytest.approx(5)
    observed.check_left_nothing()


async def test_a_client_that_disconnects_before_its_answer_is_sent_counts_as_gone() -> None:
    async with running({"a": FakeInfer()}) as observed:
        with pytest.raises(ClientGoneError), observed.open() as pending:
            await pending.classify(encode_image())
            raise ClientGoneError("The client hung up.")
    assert (observed.receipt.outcome, observed.receipt.batch_size) == (ClientGoneError.code, 1)


async def test_time_after_the_last_byte_is_not_receiving() -> None:
    async with running({"a": FakeInfer()}) as observed:
        with pytest.raises(UnsupportedFormatError), observed.open() as pending:
            fake_clock().advance_ms(5)
            try:
                await pending.classify(b"hello")
            finally:
                fake_clock().advance_ms(2)
    assert (observed.receipt.timings.receive_ms, observed.receipt.timings.total_ms) == pytest.approx((5, 7))


async def test_a_rejection_while_the_image_is_received_is_observed_once() -> None:
    async with running({"a": FakeInfer()}) as observed:
        with pytest.raises(OverloadedError), observed.open():
            raise OverloadedError("Too many bytes are in memory.", retry_after_s=1.0, reason="memory")
    assert observed.observer.rejections == ["memory"]
    assert observed.receipt.outcome == "overloaded"
    observed.check_left_nothing()


async def test_parameters_may_change_after_admission() -> None:
    async with running({"a": FakeInfer(0), "b": FakeInfer(1)}) as observed:
        with observed.open() as pending:
            pending.change_parameters(model="b", top_k=3, deadline_ms=30)
            answer = await pending.classify(encode_image())
    assert (answer.receipt.outcome, answer.receipt.model, answer.receipt.model_version) == ("ok", "b", "v-b")
    assert len(answer.predictions) == 3
    observed.check_left_nothing()


async def test_an_unexpected_error_leaves_a_receipt_too() -> None:
    async with running({"a": FakeInfer()}) as observed:
        with pytest.raises(ZeroDivisionError), observed.open():
            raise ZeroDivisionError
    assert observed.receipt.outcome == "internal_error"
    observed.check_left_nothing()
