import asyncio

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


def test_results_come_in_the_order_of_the_files_with_names_and_ids(client: TestClient) -> None:
    response = client.post(f"{PATH}?top_k=2", files=images(b"a", b"b", b"c"), headers={"X-Request-ID": "mine"})

    answer = BatchClassification.model_validate_json(response.content)
    assert answer.request_id == "mine"
    assert [item.index for item in answer.results] == [0, 1, 2]
    assert [item.filename for item in answer.results] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [item.result and item.result.request_id for item in answer.results] == ["mine-0", "mine-1", "mine-2"]
    assert all(item.result and len(item.result.predictions) == 2 and item.error is None for item in answer.results)


def test_every_image_but_the_first_belongs_to_a_request_that_was_admitted(
    client: TestClient, classifier: FakeClassifier
) -> None:
    client.post(PATH, files=images(b"a", b"b", b"c"), headers={"X-Request-ID": "mine"})

    assert classifier.begun == ["mine-1", "mine-2"]


def test_one_bad_file_never_fails_its_neighbours(
    client: TestClient, classifier: FakeClassifier, state: AppState
) -> None:
    def fail(encoded: bytes) -> Exception | None:
        faults = {b"corrupt": UndecodableImageError("cut short"), b"defect": RuntimeError("secret")}
        return faults.get(encoded)

    classifier.fail = fail

    first = client.post(PATH, files=images(b"corrupt", b"x" * 1001, b"good"))
    second = client.post(PATH, files=images(b"good", b"", b"defect"))

    codes = [item["error"] and (item["error"]["status"], item["error"]["code"]) for item in first.json()["results"]]
    assert codes == [(422, "undecodable_image"), (413, "image_too_large"), None]
    codes = [item["error"] and (item["error"]["status"], item["error"]["code"]) for item in second.json()["results"]]
    assert codes == [None, (400, "missing_image"), (500, "internal_error")]
    assert "secret" not in second.text
    assert classifier.in_flight == 0
    assert state.budget.held_bytes == 0


def test_each_image_leaves_a_receipt_of_its_own(client: TestClient, classifier: FakeClassifier) -> None:
    classifier.fail = lambda encoded: UndecodableImageError("no") if encoded == b"bad" else None

    client.post(PATH, files=images(b"good", b"bad", b"x" * 1001), headers={"X-Request-ID": "r"})

    assert classifier.outcomes == {"r-0": "ok", "r-1": "undecodable_image", "r-2": "image_too_large"}


def test_an_image_shed_after_the_batch_was_admitted_is_a_problem_of_its_own(
    client: TestClient, classifier: FakeClassifier
) -> None:
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


def test_more_files_than_allowed_are_refused_whole_and_nothing_is_computed(
    client: TestClient, classifier: FakeClassifier, state: AppState
) -> None:
    problem = expect_problem(client.post(PATH, files=images(*[b"x"] * 5)), 413, "too_many_images")

    assert problem.model_extra == {"limit": 4}
    assert classifier.images == []
    assert classifier.in_flight == 0
    assert state.budget.held_bytes == 0


def test_a_request_over_its_limit_is_refused_whole(client: TestClient) -> None:
    response = client.post(PATH, files=images(*[b"x" * 3000] * 4))

    assert expect_problem(response, 413, "image_too_large").model_extra == {"limit": 10_000}


def test_a_form_without_images_is_a_missing_image(client: TestClient) -> None:
    problem = expect_problem(client.post(PATH, files={"image": b"x"}), 400, "missing_image")

    assert "`images`" in problem.detail


@pytest.mark.parametrize("content_type", ["image/jpeg", "application/json", ""])
def test_a_body_that_is_no_form_is_told_what_a_batch_is(client: TestClient, content_type: str) -> None:
    response = client.post(PATH, content=b"x", headers={"Content-Type": content_type})

    assert "multipart/form-data" in expect_problem(response, 400, "missing_image").detail


def test_a_bad_parameter_fails_the_whole(client: TestClient) -> None:
    expect_problem(client.post(f"{PATH}?top_k=99", files=images(b"a")), 400, "invalid_parameter")


def test_a_large_batch_is_admitted_a_few_images_at_a_time(state: AppState, classifier: FakeClassifier) -> None:
    count = IN_FLIGHT + 9
    app = app_over(_with_max_images(state, count))

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


def _with_max_images(state: AppState, count: int) -> AppState:
    settings = state.settings.model_copy(update={"max_images": count, "max_request_bytes": 1_000_000})
    return AppState(state.classifier, state.journal, settings, state.budget)
