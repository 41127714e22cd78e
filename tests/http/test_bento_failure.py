import pytest
from starlette.testclient import TestClient

from bento_service.domain.service import ServiceState
from tests.http.expectations import expect_problem
from tests.http.wiring import Service


@pytest.mark.parametrize(("state", "code"), [(ServiceState.LOADING, "not_ready"), (ServiceState.DRAINING, "draining")])
def test_a_service_that_is_not_ready_says_why_and_when_to_ask_again(
    http: TestClient, service: Service, state: ServiceState, code: str
) -> None:
    service.bento.is_ready = False
    service.state = state

    response = http.get("/readyz")

    expect_problem(response, 503, code)
    assert response.headers["retry-after"] == "1"


def test_a_wrong_method_on_a_path_of_bentoml_is_a_problem_that_names_the_right_ones(http: TestClient) -> None:
    response = http.post("/livez")

    assert "POST" in expect_problem(response, 405, "method_not_allowed").detail
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_a_path_that_bentoml_does_not_have_after_all_is_a_problem(http: TestClient, service: Service) -> None:
    expect_problem(http.get("/gone"), 404, "not_found")
    assert service.bento.paths == ["/gone"]


@pytest.mark.parametrize(
    ("status", "translated", "code"),
    [
        (400, 400, "invalid_parameter"),
        (416, 400, "invalid_parameter"),
        (500, 500, "internal_error"),
        (502, 500, "internal_error"),
    ],
)
def test_any_other_failure_of_bentoml_is_a_problem_that_tells_nothing_of_its_cause(
    http: TestClient, service: Service, status: int, translated: int, code: str
) -> None:
    service.bento.status = status

    assert "secret" not in expect_problem(http.get("/"), translated, code).detail
