import io
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests
from PIL import Image

from lightbox_client import Client, ProblemError
from lightbox_client.errors import (
    InvalidImageError,
    InvalidRequestError,
    UnexpectedAnswerError,
    UnknownModelError,
    UnreadableImageFileError,
)
from tests.fakes.service import FakeService


def test_bytes_are_posted_as_they_are_and_answered_as_a_classification(
    client: Client, service: FakeService, photograph: bytes
) -> None:
    answer = client.classify(photograph, model="efficientnet_lite1", top_k=3, deadline_ms=250)

    assert [prediction.label for prediction in answer.predictions] == ["Egyptian cat", "tabby", "tiger cat"]
    assert (answer.model.name, answer.image.format, answer.image.width) == ("efficientnet_lite1", "PNG", 60)
    [request] = service.seen("/v1/classify")
    assert request.body == photograph
    assert request.query == {"model": "efficientnet_lite1", "top_k": "3", "deadline_ms": "250"}


def test_a_preview_is_a_picture_with_what_the_service_says_of_the_image(
    client: Client, service: FakeService, photograph: bytes
) -> None:
    preview = client.preview(photograph)

    with Image.open(io.BytesIO(preview.png)) as shown:
        assert (shown.format, shown.size) == ("PNG", (60, 40))
    assert (preview.image.format, preview.image.width, preview.image.height) == ("PNG", 60, 40)
    assert preview.warnings == []
    [request] = service.seen("/v1/preview")
    assert (request.body, request.query) == (photograph, {})


def test_an_explanation_has_the_place_of_its_strongest_cell(
    client: Client, service: FakeService, photograph: bytes
) -> None:
    explanation = client.explain(photograph, class_id=281, method="occlusion", priority="bulk")

    assert (explanation.label, explanation.is_exact) == ("tabby", False)
    box, cell = explanation.box, explanation.strongest
    assert (cell.left - box.left, cell.top - box.top) == pytest.approx((4 / 7 * box.width, 2 / 7 * box.height))
    [request] = service.seen("/v1/explain")
    assert request.query == {"class_id": "281", "method": "occlusion"}
    assert (request.headers["accept"], request.headers["x-priority"]) == ("application/json", "bulk")


def test_an_explanation_is_a_picture_where_one_is_asked_for(
    client: Client, service: FakeService, photograph: bytes
) -> None:
    with Image.open(io.BytesIO(client.explain_as_png(photograph, opacity=0.3))) as picture:
        assert (picture.format, picture.size) == ("PNG", (60, 40))
    with pytest.raises(InvalidRequestError, match="class_id is 5000"):
        client.explain_as_png(photograph, class_id=5000)

    service.answer(200, b"{}", "application/json", path="/v1/explain")
    with pytest.raises(UnexpectedAnswerError, match="no picture"):
        client.explain_as_png(photograph)


def test_an_answer_that_does_not_describe_the_image_is_no_preview(client: Client, service: FakeService) -> None:
    service.answer(200, b"a picture", "image/png", path="/v1/preview")

    with pytest.raises(UnexpectedAnswerError, match="no preview of Lightbox"):
        client.preview(b"image")


def test_a_priority_goes_into_the_header_of_one_image_and_of_many(
    client: Client, service: FakeService, photograph: bytes
) -> None:
    client.classify(photograph, priority="bulk")
    client.classify_batch([photograph], priority="bulk")

    assert [request.headers["x-priority"] for request in service.requests] == ["bulk", "bulk"]
    assert service.requests[0].query == {"top_k": "5"}  # the rest is left to the service


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        *(("cat.jpg", "image/jpeg"), ("cat.WEBP", "image/webp")),
        *((name, "application/octet-stream") for name in ("cat.txt", "cat")),
    ],
)
def test_a_file_is_posted_with_the_type_that_its_name_suggests(
    client: Client, service: FakeService, tmp_path: Path, name: str, media_type: str
) -> None:
    path = tmp_path / name
    Image.new("RGB", (8, 8)).save(path, "PNG")

    client.classify(path)
    client.classify(str(path))
    with path.open("rb") as stream:
        client.classify(stream)

    assert [request.headers["content-type"] for request in service.seen("/v1/classify")] == [media_type] * 3
    assert {request.body for request in service.seen("/v1/classify")} == {path.read_bytes()}


def test_a_file_that_does_not_exist_is_named_with_the_reason(
    client: Client, service: FakeService, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableImageFileError, match=r"cannot read .*nowhere\.jpg: No such file or directory"):
        client.classify(tmp_path / "nowhere.jpg")
    with pytest.raises(UnreadableImageFileError, match="Is a directory"):
        client.classify(tmp_path)

    assert service.requests == []


def test_a_batch_answers_in_order_with_each_file_its_result_or_its_error(
    client: Client, photograph: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "Kätzchen „7“.png"
    path.write_bytes(photograph)

    answer = client.classify_batch([path, b"no image", photograph], top_k=1)

    assert [one.filename for one in answer.results] == [path.name, "image-1", "image-2"]
    assert [one.error and one.error.code for one in answer.results] == [None, "unsupported_format", None]
    assert [one.result and len(one.result.predictions) for one in answer.results] == [1, None, 1]


def test_answers_are_typed(client: Client) -> None:
    assert [card.name for card in client.models().models if card.is_default] == ["efficientnet_lite0"]
    assert client.model("efficientnet_lite2").input_size.width == 260
    assert client.labels("efficientnet_lite0").labels[285] == "Egyptian cat"
    assert client.status().lanes == 2
    assert client.version().lightbox == "0.1.0"


@pytest.mark.parametrize("name", ["timm/resnet50.a1_in1k", "a?b#c"])
def test_a_model_name_may_hold_a_slash_and_cannot_leave_its_path(
    client: Client, service: FakeService, name: str
) -> None:
    with pytest.raises(UnknownModelError):
        client.model(name)

    assert service.requests[0].path == f"/v1/models/{name}"


def test_history_is_asked_for_with_moments_in_any_time_zone(client: Client, service: FakeService) -> None:
    until = datetime(2026, 3, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))

    history = client.history(since=until - timedelta(hours=1), until=until, buckets=12, model="efficientnet_lite0")

    assert len(history.buckets) == 12
    assert history.until == datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
    assert service.requests[0].query["model"] == "efficientnet_lite0"


def test_a_moment_without_a_time_zone_is_refused_before_anything_is_sent(client: Client, service: FakeService) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        client.history(since=datetime(2026, 3, 1))

    assert service.requests == []


def test_the_slowest_requests_come_first(client: Client) -> None:
    rows = client.history_requests(order="slowest", limit=5).requests

    totals_ms = [row.timings_ms.total for row in rows]
    assert (len(rows), totals_ms) == (5, sorted(totals_ms, reverse=True))


def test_readiness_follows_the_service(client: Client, service: FakeService, waits_s: list[float]) -> None:
    assert client.is_ready()
    service.is_loading = True
    assert not client.is_ready()
    service.stop()
    assert not client.is_ready()
    service.is_loading = False
    service.start()
    assert client.is_ready()
    assert waits_s == []


def test_refusals_arrive_as_errors_that_say_what_was_wrong(client: Client, photograph: bytes) -> None:
    with pytest.raises(InvalidImageError) as refused:
        client.classify(photograph[:60])
    assert (refused.value.status, refused.value.code) == (422, "undecodable_image")
    assert refused.value.request_id == "fake-000001"

    with pytest.raises(InvalidRequestError, match="top_k is '0'"):
        client.classify(photograph, top_k=0)


def test_a_session_of_the_callers_is_used_and_left_open(service: FakeService) -> None:
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer token"
        with Client(service.url, session=session) as client:
            client.version()
        assert session.get(f"{service.url}/livez", timeout=10).ok

    assert service.requests[0].headers["authorization"] == "Bearer token"


def test_an_address_may_end_in_a_slash_or_have_a_path(service: FakeService) -> None:
    assert Client(f"{service.url}/").base_url == service.url
    with Client(f"{service.url}/under/a/path/") as client, pytest.raises(ProblemError):
        client.models()

    assert service.requests[0].path == "/under/a/path/v1/models"


def test_a_file_name_that_is_not_utf_8_stops_no_batch(client: Client, tmp_path: Path, photograph: bytes) -> None:
    path = tmp_path / "caf\udce9.png"
    path.write_bytes(photograph)

    assert [result.error for result in client.classify_batch([path, photograph]).results] == [None, None]
