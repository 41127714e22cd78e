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
    OverloadedError,
    UnknownModelError,
    UnsupportedFormatError,
)
from bento_service.pipeline.ranking import rank
from tests.fakes.clock import FakeTimeLoop, TickingClock
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import INTERVAL_MS, OVERLOAD, answer_always, encode_image, fake_clock, running

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


async def test_an_answer_and_its_receipt_tell_the_same_and_all_of_it_is_true() -> None:
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
    assert [prediction.class_id for prediction in answer.predictions] == [1, 0]
    assert [prediction.label for prediction in answer.predictions] == ["class 1", "class 0"]
    assert observed.classifier.in_flight == 0


async def test_what_the_intake_did_to_an_image_is_in_answer_and_receipt() -> None:
    encoded = encode_image(7, file_format="GIF")
    async with running({"a": FakeInfer()}) as observed:
        answer = await observed.classify(encoded)
    assert answer.warnings
    assert observed.receipt.warnings == answer.warnings


async def test_every_answer_of_an_inexact_model_warns_of_it_after_what_the_intake_did() -> None:
    async with running({"a": FakeInfer()}, parity=Parity(200, 0.94, 0.08)) as observed:
        answer = await observed.classify(encode_image(7, file_format="GIF"))
    assert answer.warnings == ("palette_converted", "inexact_model")
    assert observed.receipt.warnings == answer.warnings


async def test_images_that_ran_together_say_in_how_big_a_batch() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as observed:
        infer.gate.clear()
        first = await observed.start(encode_image(1))
        await asyncio.to_thread(infer.wait_for_lane)
        others = [await observed.start_and_queue(encode_image(value)) for value in (2, 3, 4)]
        infer.gate.set()
        answers = await asyncio.gather(first, *others)
    assert [answer.receipt.batch_size for answer in answers] == [1, 3, 3, 3]
    assert [answer.receipt.dispatch for answer in answers] == ["lane_free", "backlog", "backlog", "backlog"]
    assert [answer.predictions[0].score for answer in answers] == [
        float(np.float32(1 - value / 255)) for value in (1, 2, 3, 4)
    ]


async def test_the_stages_do_not_overlap_and_fit_into_the_total() -> None:
    async with running({"a": FakeInfer()}, clock=TickingClock()) as observed:
        await observed.classify(encode_image())
    timings = observed.receipt.timings
    stages_ms = (timings.receive_ms, timings.decode_ms, timings.queue_ms, timings.inference_ms)
    assert all(stage_ms > 0 for stage_ms in stages_ms)
    assert sum(stages_ms) <= timings.total_ms + 1e-6


async def test_waiting_for_a_decode_thread_counts_as_queueing_and_slow_sending_as_receiving() -> None:
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
    assert timings.receive_ms == pytest.approx(3)
    assert timings.queue_ms == pytest.approx(40)
    assert timings.total_ms == pytest.approx(43)


async def test_the_receipt_keeps_five_predictions_however_many_were_asked_for() -> None:
    async with running({"a": answer_always([0.05, 0.1, 0.15, 0.2, 0.2, 0.1, 0.2])}, classes=7) as observed:
        one = await observed.classify(encode_image(), top_k=1)
        all_of_them = await observed.classify(encode_image(), top_k=7)
    assert (len(one.predictions), len(all_of_them.predictions)) == (1, 7)
    assert [len(receipt.top) for receipt in observed.observer.receipts] == [5, 5]
    assert [prediction.class_id for prediction in one.receipt.top] == [3, 4, 6, 2, 1]


async def test_scores_keep_the_engines_full_precision() -> None:
    third = float(np.float32(1 / 3))
    async with running({"a": answer_always([1 / 3, 0.1, 0.2])}) as observed:
        answer = await observed.classify(encode_image())
    assert answer.predictions[0].score == third
    assert observed.receipt.top[0].score == third


@given(scores=st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5]), min_size=1, max_size=30), count=st.integers(1, 40))
def test_classes_are_ranked_by_descending_score_and_ties_by_class_id(scores: list[float], count: int) -> None:
    ranked = rank(np.array(scores, dtype=np.float32), tuple(map(str, range(len(scores)))), count)
    keys = [(-prediction.score, prediction.class_id) for prediction in ranked]
    every_key = sorted((-float(np.float32(score)), class_id) for class_id, score in enumerate(scores))
    assert keys == every_key[:count]
    assert all(prediction.label == str(prediction.class_id) for prediction in ranked)


async def test_a_model_is_asked_for_by_name_and_the_default_answers_who_names_none() -> None:
    async with running({"a": FakeInfer(0), "b": FakeInfer(1)}) as observed:
        with observed.open(model="b") as pending:
            await pending.classify(encode_image())
        with observed.open() as pending:
            await pending.classify(encode_image())
    assert [receipt.model for receipt in observed.observer.receipts] == ["b", "a"]


async def test_an_unknown_model_is_refused_with_the_names_that_exist_and_not_spelled_out_in_the_receipt() -> None:
    async with running({"a": FakeInfer(), "b": FakeInfer()}) as observed:
        with pytest.raises(UnknownModelError, match=r"'resnet' is served\. Served: a, b") as refusal:
            observed.open(model="resnet")
    assert refusal.value.details["models"] == ["a", "b"]
    assert (observed.receipt.outcome, observed.receipt.model) == ("unknown_model", "")


@pytest.mark.parametrize("top_k", [-1, 0, 4])
async def test_top_k_outside_the_models_classes_is_refused(top_k: int) -> None:
    async with running({"a": FakeInfer()}) as observed:
        with pytest.raises(InvalidParameterError, match=f"top_k is {top_k}; a has 3 classes") as refusal:
            observed.open(top_k=top_k)
    assert refusal.value.details == {"parameter": "top_k", "minimum": 1, "maximum": 3}
    assert observed.receipt.outcome == "invalid_parameter"


@pytest.mark.parametrize("deadline_ms", [-5.0, 0.0, 600_001.0, float("inf"), float("nan")])
async def test_a_deadline_that_is_none_is_refused(deadline_ms: float) -> None:
    async with running({"a": FakeInfer()}) as observed:
        with pytest.raises(InvalidParameterError, match="deadline_ms is"):
            observed.open(deadline_ms=deadline_ms)
    assert observed.receipt.outcome == "invalid_parameter"


async def test_an_image_that_would_wait_past_the_target_is_refused_before_it_is_read() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as observed:
        thread_is_free = observed.block_decoding()
        ahead = [await observed.start(encode_image(value)) for value in range(OVERLOAD)]
        with pytest.raises(OverloadedError, match=f"{OVERLOAD} images are ahead") as refusal:
            observed.open(request_id="late")
        thread_is_free.set()
        await asyncio.gather(*ahead)
    assert refusal.value.retry_after_s == pytest.approx(OVERLOAD * INTERVAL_MS / 1000)
    assert observed.observer.sheds == ["target"]
    refused = observed.observer.receipts[0]
    assert (refused.request_id, refused.outcome, refused.model, refused.digest) == ("late", "overloaded", "a", "")


async def test_an_image_is_refused_before_decoding_where_others_overtook_it_while_it_was_sent() -> None:
    infer = FakeInfer()
    async with running({"a": infer}) as observed:
        with pytest.raises(OverloadedError), observed.open(request_id="slow") as slow:
            thread_is_free = observed.block_decoding()
            ahead = [await observed.start(encode_image(value)) for value in range(OVERLOAD)]
            await slow.classify(encode_image(200))
        thread_is_free.set()
        await asyncio.gather(*ahead)
    assert observed.observer.sheds == ["target"]
    assert observed.observer.receipts[0].outcome == "overloaded"
    assert 200 not in infer.computed
    assert observed.classifier.in_flight == 0


async def test_clients_that_send_slowly_keep_others_out_only_beyond_their_own_limit() -> None:
    async with running({"a": FakeInfer()}, max_queued=1, max_receiving=50) as observed:
        observed.take_places(49)
        answer = await observed.classify(encode_image())
        assert answer.receipt.outcome == "ok"
        observed.take_places(1)
        with pytest.raises(OverloadedError, match="50 images are being received, as many as may be") as refusal:
            observed.open()
    assert refusal.value.retry_after_s >= 1
    assert observed.observer.sheds == ["receiving"]


async def test_a_full_queue_is_refused_before_reading_and_again_before_decoding() -> None:
    infer = FakeInfer()
    async with running({"a": infer}, max_queued=2) as observed:
        with observed.open(request_id="slow") as slow:
            thread_is_free = observed.block_decoding()
            ahead = [await observed.start(encode_image(value)) for value in range(2)]
            with pytest.raises(OverloadedError, match="2 images wait for their answers"):
                observed.open(request_id="late")
            with pytest.raises(OverloadedError, match="2 images wait for their answers"):
                await slow.classify(encode_image(200))
        thread_is_free.set()
        await asyncio.gather(*ahead)
    assert observed.observer.sheds == ["queue_full"]
    assert 200 not in infer.computed
    assert observed.classifier.in_flight == 0


async def test_an_image_that_would_wait_past_its_own_deadline_is_refused() -> None:
    async with running({"a": FakeInfer()}) as observed:
        thread_is_free = observed.block_decoding()
        ahead = [await observed.start(encode_image(value)) for value in range(5)]
        with pytest.raises(OverloadedError, match="deadline of 20 ms"):
            observed.open(deadline_ms=20)
        observed.open(deadline_ms=60)
        thread_is_free.set()
        await asyncio.gather(*ahead)
    assert observed.observer.sheds == ["deadline"]


async def test_a_deadline_that_passed_before_admission_is_no_overload() -> None:
    async with running({"a": FakeInfer()}) as observed:
        started_s = fake_clock()()
        fake_clock().advance_ms(31)
        with pytest.raises(DeadlineExceededError):
            observed.classifier.open(request_id="r", model=None, top_k=1, deadline_ms=30, started_s=started_s)
    assert observed.receipt.outcome == "deadline_exceeded"
    assert observed.receipt.timings.total_ms == pytest.approx(31)
    assert observed.observer.sheds == []


async def test_the_served_models_are_described_in_order_with_their_default() -> None:
    async with running({"a": FakeInfer(), "b": FakeInfer()}) as observed:
        models = observed.classifier.models()
    assert [(model.card.name, model.is_default, model.engine) for model in models] == [
        ("a", True, "fake"),
        ("b", False, "fake"),
    ]


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
