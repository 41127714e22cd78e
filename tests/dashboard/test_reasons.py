import pytest

from bento_service.domain import DispatchReason
from dashboard.reasons import answer_path, reason
from lightbox_client.contract import Classification, ImageInfo
from tests.fakes import service_data


def answer(**changes: object) -> Classification:
    card = service_data.model_cards().models[0]
    image = ImageInfo(format="PNG", width=451, height=300)
    return service_data.classification("1", card, image, 5, []).model_copy(update=changes)


@pytest.mark.parametrize("code", list(DispatchReason))
def test_every_reason_of_the_service_is_explained(code: DispatchReason) -> None:
    assert reason(code).explanation
    assert reason(code).name != code.replace("_", " ")


def test_a_reason_that_is_new_is_spelt_out() -> None:
    assert reason("lane_warmed").name == "lane warmed"


def test_an_answer_says_how_large_its_batch_was_and_why_it_went() -> None:
    assert answer_path(answer(batch_size=1)) == "alone, a lane was free"
    assert answer_path(answer(dispatch="backlog")) == "in a batch of 4, waited until a lane came free"


def test_an_answer_from_the_cache_had_no_company() -> None:
    assert answer_path(service_data.cached(answer())) == "Served from cache; the model did not run"


def test_an_answer_without_a_reason_says_its_batch_alone() -> None:
    assert answer_path(answer(batch_size=1, dispatch="")) == "alone"
