import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service import errors
from bento_service.errors import InvalidParameterError, LightboxError, OverloadedError, ReceiveTimeoutError
from bento_service.http.responses.problems import (
    PROBLEM_TYPES,
    answer_error,
    describe_error,
    round_retry_after,
)
from lightbox_client.contract import Problem


def reachable_errors() -> list[type[LightboxError]]:
    """Every error but those that stop the process before it serves."""
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, LightboxError)]
    return [one for one in found if "For the operator" not in (one.__doc__ or "")]


@pytest.mark.parametrize("error", reachable_errors(), ids=lambda error: error.__name__)
def test_every_error_that_a_request_can_meet_has_a_status(error: type[LightboxError]) -> None:
    assert error.code in PROBLEM_TYPES


def test_details_never_replace_the_members_of_rfc_9457() -> None:
    problem = describe_error(InvalidParameterError("no", status="mine", title="mine", limit=3), "r1")

    assert problem.status == 400
    assert problem.title == "Invalid parameter"
    assert problem.model_extra == {"limit": 3}


def test_a_detail_that_json_does_not_know_is_sent_as_text() -> None:
    response = answer_error(InvalidParameterError("no", given={1j}), "r1")

    assert Problem.model_validate_json(bytes(response.body)).model_extra == {"given": ["1j"]}


def test_a_retryable_error_says_when_to_try_again_in_header_and_body() -> None:
    response = answer_error(OverloadedError("busy", retry_after_s=1.2), "r1")

    assert response.headers["Retry-After"] == "2"
    assert Problem.model_validate_json(bytes(response.body)).model_extra == {"retry_after_s": 2}


def test_a_request_that_came_too_slowly_closes_its_connection() -> None:
    assert answer_error(ReceiveTimeoutError("slow"), "r1").headers["Connection"] == "close"


@given(st.floats())
def test_retry_after_is_whole_seconds_up_to_an_hour(seconds: float) -> None:
    rounded = round_retry_after(seconds)

    assert 1 <= rounded <= 3600
    assert rounded == 3600 or math.isnan(seconds) or rounded >= seconds
