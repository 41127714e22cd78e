import re
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from bento_service.http.requests.headers import request_id_of

CALLS = [("GET", "/v1/models"), ("GET", "/v1/nothing"), ("GET", "/v1/classify"), ("GET", "/v1/history?buckets=no")]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_an_id_of_the_client_comes_back_whatever_the_answer(client: TestClient, method: str, path: str) -> None:
    response = client.request(method, path, headers={"X-Request-ID": "My-id_1.a"})

    assert response.headers["x-request-id"] == "My-id_1.a"


@given(st.binary(max_size=200))
@example(b"x" * 129)
@example(b"safe\n")
def test_an_id_is_always_safe_and_the_same_for_one_request(value: bytes) -> None:
    scope: dict[str, object] = {"headers": [(b"x-request-id", value)]}

    request_id = request_id_of(scope)

    assert request_id == request_id_of(scope)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", request_id)


def test_two_requests_have_two_ids() -> None:
    scopes: list[Mapping[str, object]] = [{"headers": []}, {"headers": []}]

    assert len({request_id_of(dict(scope)) for scope in scopes}) == 2
