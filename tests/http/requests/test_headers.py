from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from bento_service.http.requests.headers import request_id_of

CALLS = [("GET", "/v1/models"), ("GET", "/v1/nothing"), ("GET", "/v1/classify"), ("GET", "/v1/history?buckets=no")]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_an_id_of_the_client_comes_back_whatever_the_answer(client: TestClient, method: str, path: str) -> None:
    response = client.request(method, path, headers={"X-Request-ID": "My-id_1.a"})

    assert response.headers["x-request-id"] == "My-id_1.a"


@pytest.mark.parametrize("given_id", ["", "a b", "a/b", "ü", "x" * 129, "a\tb", "<script>"])
def test_an_id_that_is_not_safe_is_replaced(client: TestClient, given_id: str) -> None:
    response = client.get("/v1/models", headers={b"X-Request-ID": given_id.encode()})

    assert response.headers["x-request-id"] != given_id
    assert len(response.headers["x-request-id"]) == 32


@given(st.binary(max_size=200))
def test_an_id_is_always_safe_and_the_same_for_one_request(value: bytes) -> None:
    scope: dict[str, object] = {"headers": [(b"x-request-id", value)]}

    request_id = request_id_of(scope)

    assert request_id == request_id_of(scope)
    assert 1 <= len(request_id) <= 128
    assert request_id.isascii()
    assert request_id.replace(".", "").replace("_", "").replace("-", "").isalnum() or set(request_id) <= set("._-")


def test_two_requests_have_two_ids() -> None:
    scopes: list[Mapping[str, object]] = [{"headers": []}, {"headers": []}]

    assert len({request_id_of(dict(scope)) for scope in scopes}) == 2
