import pytest

from bento_service.domain.runner import DispatchReason
from dashboard.reasons import answer_path, reason
from lightbox_client.contract import Classification
from tests.fakes import service_data


def answer(**changes: object) -> Classification:
    return service_data.classification().model_copy(update=changes)


@pytest.mark.parametrize("code", list(DispatchReason))
def test_every_reason_of_the_service_is_explained(code: DispatchReason) -> None:
    assert reason(code).explanation
    assert reason(code).name != code.replace("_", " ")


def test_a_reason_that_is_new_is_spelt_out() -> None:
    assert reason("lane_warmed").name == "Lane warmed"


@pytest.mark.parametrize(
    ("dispatch", "batch_size", "queue_ms", "sentence"),
    [
        ("lane_free", 1, 0.3, "Ran alone, no batching delay"),
        ("lane_free", 1, 50.0, "Ran alone, no batching delay (50.0 ms waiting for a CPU)"),
        ("backlog", 4, 0.2, "Ran in a batch of 4, as soon as a lane was free"),
        ("backlog", 4, 249.0, "Ran in a batch of 4, as soon as a lane was free (249 ms in the queue)"),
        ("held", 1, 12.0, "Ran alone, after a wait for more images (12.0 ms in the queue)"),
        ("held", 4, 0.1, "Ran in a batch of 4, after a wait for more images"),
        ("", 1, 0.1, "Ran alone"),
    ],
)
def test_an_answers_reason_fits_its_time_in_the_queue(
    dispatch: str, batch_size: int, queue_ms: float, sentence: str
) -> None:
    timings = answer().timings_ms.model_copy(update={"queue": queue_ms})
    assert answer_path(answer(dispatch=dispatch, batch_size=batch_size, timings_ms=timings)) == sentence


def test_an_answer_from_the_cache_had_no_batch() -> None:
    cached = service_data.cached(answer())
    shared = cached.model_copy(update={"timings_ms": cached.timings_ms.model_copy(update={"queue": 30.0})})
    assert answer_path(cached) == "Served from cache; the model did not run"
    assert answer_path(shared) == "Served from cache; the model did not run (30.0 ms in the queue)"
