import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.domain.models import Parity
from bento_service.errors import (
    DeadlineExceededError,
    InvalidParameterError,
    LightboxError,
    OverloadedError,
    UnknownModelError,
    UnsupportedFormatError,
)
from bento_service.pipeline.ranking import rank
from tests.fakes.clock import TickingClock
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import INTERVAL_MS, OVERLOAD, answer_always, encode_image, fake_clock, running

pytestmark = pytest.mark.anyio


async def test_an_answer_and_its_receipt_agree() -> None:
    encoded = encode_image(7, width_px=12, height_px=10)
    async with running({"a": FakeInfer()}) as observed:
        answer = await observed.classify(encoded, top_k=2)
    receipt = observed.receipt
    assert answer.receipt == receipt
    assert (receipt.request_id, receipt.model, receipt.model_version) == ("r-1", "a", "v-a")
    assert (receipt.outcome, receipt.batch_size, receipt.dispatch) == ("ok", 1, "lane_free")
    assert receipt.digest == hashlib.sha256(encoded).hexdigest()
    assert receipt.image == answer.image
    assert (answer.image.format, answer.image.width_px, answer.image.height_px) == ("PNG", 12, 10)
    assert abs(datetime.now(UTC) - receipt.received_at) < timedelta(minutes=1)
    assert [(one.class_id, one.label) for one in answer.predictions] == [(1, "class 1"), (0, "class 0")]
    observed.check_left_nothing()


async def test_warnings_are_those_of_the_image_then_of_the_model() -> None:
    async with running({"a": FakeInfer()}, parity=Parity(200, 0.94, 0.08)) as observed:
        answer = await observed.classify(encode_image(7, file_format="GIF"))
    assert answer.warnings == observed.receipt.warnings == ("palette_converted", "inexact_model")


async def test_images_that_ran_together_have_their_batch_size_and_own_scores() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as observed:
        first = await observed.occupy_lane(infer)
        others = [await observed.start_and_queue(encode_image(value)) for value in (2, 3, 4)]
        infer.gate.set()
        answers = await asyncio.gather(first, *others)
    assert [answer.receipt.batch_size for answer in answers] == [1, 3, 3, 3]
    assert [answer.receipt.dispatch for answer in answers] == ["lane_free", "backlog", "backlog", "backlog"]
    scores = [answer.predictions[0].score for answer in answers]
    assert scores == [float(np.float32(1 - value / 255)) for value in (1, 2, 3, 4)]


async def test_the_stages_do_not_overlap_and_fit_into_the_total() -> None:
    async with running({"a": FakeInfer()}, clock=TickingClock()) as observed:
        await observed.classify(encode_image())
    timings = observed.receipt.timings
    stages_ms = (timings.receive_ms, timings.decode_ms, timings.queue_ms, timings.inference_ms)
    assert all(stage_ms > 0 for stage_ms in stages_ms)
    assert sum(stages_ms) <= timings.total_ms + 1e-6


async def test_a_model_with_fewer_classes_than_are_asked_for_returns_all_of_them() -> None:
    async with running({"a": FakeInfer()}) as observed:
        answer = await observed.classify(encode_image(), top_k=5)

    assert sorted(prediction.label for prediction in answer.predictions) == ["class 0", "class 1", "class 2"]


async def test_waiting_for_a_decode_thread_is_queueing_and_sending_is_receiving() -> None:
    async with running({"a": FakeInfer()}) as observed:
        thread_is_free = observed.block_decoding()
        with observed.open() as pending:
            fake_clock().advance_ms(3)
            task = asyncio.create_task(pending.classify(encode_image()))
            await asyncio.sleep(0)
            fake_clock().advance_ms(40)
            thread_is_free.set()
            await task
    timings = observed.receipt.timings
    assert (timings.receive_ms, timings.queue_ms, timings.total_ms) == pytest.approx((3, 40, 43))


async def test_the_receipt_keeps_five_exact_predictions_whatever_top_k_is() -> None:
    async with running({"a": answer_always([0.05, 0.1, 0.15, 1 / 3, 0.2, 0.1, 0.2])}, classes=7) as observed:
        one = await observed.classify(encode_image(), top_k=1)
        every = await observed.classify(encode_image(), top_k=7)
    assert (len(one.predictions), len(every.predictions)) == (1, 7)
    assert [len(receipt.top) for receipt in observed.observer.receipts] == [5, 5]
    assert [prediction.class_id for prediction in one.receipt.top] == [3, 4, 6, 2, 1]
    assert one.predictions[0].score == one.receipt.top[0].score == float(np.float32(1 / 3))


@given(scores=st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5]), min_size=1, max_size=30), count=st.integers(1, 40))
def test_classes_are_ranked_by_descending_score_then_class_id(scores: list[float], count: int) -> None:
    ranked = rank(np.array(scores, dtype=np.float32), tuple(map(str, range(len(scores)))), count)
    keys = [(-prediction.score, prediction.class_id) for prediction in ranked]
    every_key = sorted((-float(np.float32(score)), class_id) for class_id, score in enumerate(scores))
    assert keys == every_key[:count]
    assert all(prediction.label == str(prediction.class_id) for prediction in ranked)


async def test_a_model_is_chosen_by_name_and_the_first_is_the_default() -> None:
    async with running({"a": FakeInfer(0), "b": FakeInfer(1)}) as observed:
        for model in ("b", None):
            with observed.open(model=model) as pending:
                await pending.classify(encode_image())
        models = observed.classifier.models()
    assert [receipt.model for receipt in observed.observer.receipts] == ["b", "a"]
    assert [(one.card.name, one.is_default, one.engine) for one in models] == [
        ("a", True, "fake"),
        ("b", False, "fake"),
    ]


@pytest.mark.parametrize(
    ("model", "top_k", "deadline_ms", "error", "message", "blamed"),
    [
        ("resnet", 1, None, UnknownModelError, r"'resnet' is served\. Served: a, b", ""),
        ("b", -1, None, InvalidParameterError, "top_k is -1; it must be at least 1", "b"),
        ("b", 0, None, InvalidParameterError, "top_k is 0; it must be at least 1", "b"),
        *(
            ("b", 1, deadline_ms, InvalidParameterError, "deadline_ms is", "b")
            for deadline_ms in (-5.0, 0.0, 600_001.0, float("inf"), float("nan"))
        ),
    ],
)
async def test_invalid_parameters_are_refused_at_admission_and_after_it(
    *, model: str, top_k: int, deadline_ms: float | None, error: type[LightboxError], message: str, blamed: str
) -> None:
    async with running({"a": FakeInfer(), "b": FakeInfer()}) as observed:
        with pytest.raises(error, match=message):
            observed.open(model=model, top_k=top_k, deadline_ms=deadline_ms)
        with pytest.raises(error, match=message), observed.open() as pending:
            pending.change_parameters(model=model, top_k=top_k, deadline_ms=deadline_ms)
    receipts = observed.observer.receipts
    assert [(receipt.outcome, receipt.model) for receipt in receipts] == [(error.code, blamed)] * 2
    observed.check_left_nothing()


async def test_an_image_that_would_wait_too_long_is_rejected_before_it_is_read() -> None:
    async with running({"a": FakeInfer()}) as observed:
        thread_is_free = observed.block_decoding()
        ahead = await observed.start_many(OVERLOAD)
        with pytest.raises(OverloadedError, match=f"{OVERLOAD} images are ahead") as rejection:
            observed.open(request_id="late")
        thread_is_free.set()
        await asyncio.gather(*ahead)
    assert rejection.value.retry_after_s == pytest.approx(OVERLOAD * INTERVAL_MS / 1000)
    assert observed.observer.rejections == ["target"]
    rejected = observed.observer.receipts[0]
    assert (rejected.request_id, rejected.outcome, rejected.model, rejected.digest) == ("late", "overloaded", "a", "")


@pytest.mark.parametrize(("max_queued", "reason"), [(50, "target"), (2, "queue_full")])
async def test_an_image_is_checked_again_before_it_is_decoded(max_queued: int, reason: str) -> None:
    infer = FakeInfer()
    async with running({"a": infer}, max_queued=max_queued) as observed:
        with pytest.raises(OverloadedError), observed.open(request_id="slow") as slow:
            thread_is_free = observed.block_decoding()
            ahead = await observed.start_many(min(OVERLOAD, max_queued))
            await slow.classify(encode_image(200))
        thread_is_free.set()
        await asyncio.gather(*ahead)
    assert observed.observer.rejections == [reason]
    assert observed.observer.receipts[0].outcome == "overloaded"
    assert 200 not in infer.computed
    observed.check_left_nothing()


async def test_slow_senders_keep_others_out_only_beyond_their_own_limit() -> None:
    async with running({"a": FakeInfer()}, max_queued=1, max_receiving=50) as observed:
        observed.take_places(49)
        assert (await observed.classify(encode_image())).receipt.outcome == "ok"
        observed.take_places(1)
        with pytest.raises(OverloadedError, match="50 images are being received"):
            observed.open()
    assert observed.observer.rejections == ["receiving"]


async def test_a_deadline_that_passed_before_admission_is_no_overload() -> None:
    async with running({"a": FakeInfer()}) as observed:
        started_s = fake_clock()()
        fake_clock().advance_ms(31)
        with pytest.raises(DeadlineExceededError):
            observed.classifier.open(request_id="r", model=None, top_k=1, deadline_ms=30, started_s=started_s)
    assert observed.receipt.outcome == "deadline_exceeded"
    assert observed.receipt.timings.total_ms == pytest.approx(31)
    assert observed.observer.rejections == []


@pytest.mark.parametrize("has_run", [True, False])
async def test_the_predicted_wait_follows_images_that_ran_and_no_others(*, has_run: bool) -> None:
    async with running({"a": FakeInfer()}) as observed:
        for value in range(10):
            if has_run:
                await observed.classify(encode_image(value))
            else:
                with pytest.raises(UnsupportedFormatError):
                    await observed.classify(b"hello")
        thread_is_free = observed.block_decoding()
        waiting = await observed.start(encode_image(200))
        wait_ms = observed.classifier.predicted_wait_ms
        thread_is_free.set()
        await waiting
    assert (wait_ms < INTERVAL_MS) == has_run
