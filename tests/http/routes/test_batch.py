import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from bento_service.errors import (
    DrainingError,
    LightboxError,
    NotReadyError,
    OverloadedError,
    UndecodableImageError,
    UnknownModelError,
)
from bento_service.http.routes.batch import IN_FLIGHT
from bento_service.http.state import AppState
from lightbox_client.contract import BatchClassification
from tests.fakes.classifier import FakeClassifier, Gate
from tests.http.exchange import Exchange, http_scope
from tests.http.expectations import expect_problem
from tests.http.requests.test_upload import FORM, part
from tests.http.wiring import app_over

PATH = "/v1/classify/batch"


def images(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{index}.jpg", content)) for index, content in enumerate(contents)]


def test_results_come_in_the_order_of_the_files_with_names_and_ids(
    client: TestClient, classifier: FakeClassifier
) -> None:
    response = client.post(f"{PATH}?top_k=2", files=images(b"a", b"b", b"c"), headers={"X-Request-ID": "mine"})

    answer = BatchClassification.model_validate_json(response.content)
    assert answer.request_id == "mine"
    assert [(item.index, item.filename) for item in answer.results] == [(0, "0.jpg"), (1, "1.jpg"), (2, "2.jpg")]
    assert [item.result and item.result.request_id for item in answer.results] == ["mine-0", "mine-1", "mine-2"]
    assert all(item.result and len(item.result.predictions) == 2 and item.error is None for item in answer.results)
    # Each but the first belongs to a request that is admitted.
    assert classifier.begun == ["mine-1", "mine-2"]


def test_one_bad_file_never_fails_its_neighbours(
    client: TestClient, classifier: FakeClassifier, state: AppState
) -> None:
    def fail(encoded: bytes) -> Exception | None:
        faults = {b"corrupt": UndecodableImageError("cut short"), b"defect": RuntimeError("secret")}
        return faults.get(encoded)

    classifier.fail = fail

    files = images(b"corrupt", b"x" * 1001, b"good", b"defect")
    first = client.post(PATH, files=files, headers={"X-Request-ID": "r"})
    second = client.post(PATH, files=images(b"good", b""))

    codes = [item["error"] and (item["error"]["status"], item["error"]["code"]) for item in first.json()["results"]]
    assert codes == [(422, "undecodable_image"), (413, "image_too_large"), None, (500, "internal_error")]
    codes = [item["error"] and (item["error"]["status"], item["error"]["code"]) for item in second.json()["results"]]
    assert codes == [None, (400, "missing_image")]
    assert "secret" not in first.text
    outcomes = ["undecodable_image", "image_too_large", "ok", "internal_error"]
    assert {f"r-{index}": outcome for index, outcome in enumerate(outcomes)}.items() <= classifier.outcomes.items()
    assert (classifier.in_flight, state.budget.held_bytes) == (0, 0)


def test_an_image_rejected_later_is_a_problem_of_its_own(client: TestClient, classifier: FakeClassifier) -> None:
    classifier.refuse = lambda request_id: (
        None if request_id.endswith("-0") else OverloadedError("busy", retry_after_s=2.5)
    )

    response = client.post(PATH, files=images(b"a", b"b"))

    assert response.status_code == 200
    first, second = response.json()["results"]
    assert first["error"] is None
    assert second["error"]["status"] == 429
    assert second["error"]["retry_after_s"] == 3
    assert second["error"]["request_id"] == f"{response.headers['x-request-id']}-1"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OverloadedError("busy", retry_after_s=1), 429),
        (DrainingError("leaving", retry_after_s=1), 503),
        (NotReadyError("loading", retry_after_s=1), 503),
        (UnknownModelError("no such model", models=["lite0"]), 404),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_a_batch_that_is_not_admitted_is_refused_before_it_is_read(
    app: Starlette, classifier: FakeClassifier, error: LightboxError, status: int
) -> None:
    classifier.refuse = lambda request_id: error
    exchange = Exchange([part("images", b"a")])

    asyncio.run(exchange.run(app, http_scope("POST", PATH, FORM)))

    assert exchange.status == status
    assert exchange.json["code"] == error.code
    assert exchange.pulled == 0


def test_more_files_than_allowed_are_refused_whole(
    client: TestClient, classifier: FakeClassifier, state: AppState
) -> None:
    problem = expect_problem(client.post(PATH, files=images(*[b"x"] * 5)), 413, "too_many_images")

    assert problem.model_extra == {"limit": 4}
    assert (classifier.images, classifier.in_flight, state.budget.held_bytes) == ([], 0, 0)


def test_a_request_over_its_limit_is_refused_whole(client: TestClient) -> None:
    response = client.post(PATH, files=images(*[b"x" * 3000] * 4))

    assert expect_problem(response, 413, "image_too_large").model_extra == {"limit": 10_000}


@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        ({"files": {"image": b"x"}}, "missing_image", "`images`"),
        ({"content": b"x", "headers": {"Content-Type": "image/jpeg"}}, "missing_image", "multipart/form-data"),
        ({"content": b"x", "headers": {"Content-Type": ""}}, "missing_image", "multipart/form-data"),
        ({"files": {"images": b"x"}, "params": {"top_k": "0"}}, "invalid_parameter", "1"),
    ],
    ids=["another field", "raw body", "no type", "parameter"],
)
def test_a_batch_without_images_is_told_how_to_send_them(
    client: TestClient, sent: Mapping[str, Any], code: str, words: str
) -> None:
    assert words in expect_problem(client.post(PATH, **sent), 400, code).detail


def test_a_large_batch_is_admitted_a_few_images_at_a_time(state: AppState, classifier: FakeClassifier) -> None:
    count = IN_FLIGHT + 9
    settings = state.settings.model_copy(update={"max_images": count, "max_request_bytes": 1_000_000})
    app = app_over(replace(state, settings=settings))

    async def talk() -> Exchange:
        classifier.gate = Gate()
        exchange = Exchange([*(part("images", b"%d" % index) for index in range(count)), b"--cut--"])
        task = asyncio.create_task(exchange.run(app, http_scope("POST", PATH, FORM)))
        await classifier.gate.wait_for_arrivals(IN_FLIGHT)
        classifier.gate.open()
        await task
        return exchange

    exchange = asyncio.run(talk())

    assert [item["error"] for item in exchange.json["results"]] == [None] * count
    assert classifier.most_in_flight == IN_FLIGHT
    assert classifier.in_flight == 0
