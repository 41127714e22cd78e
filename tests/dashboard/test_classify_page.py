from collections.abc import Callable, Sequence

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.gallery import FOLDER
from tests.dashboard.screen import forget_reads, headline, texts
from tests.fakes import service_data
from tests.fakes.service import FakeService

SAMPLE = "classify_sample_coffee"


def classified(service: FakeService) -> Sequence[object]:
    return service.seen("/v1/classify")


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    return app.file_uploader[0].set_value([(name, body, "image/jpeg") for name, body in files]).run()


def test_a_clicked_sample_gets_a_headline_that_is_no_surer_than_its_score(app: AppTest) -> None:
    app.run().button(key=SAMPLE).click().run()
    assert headline(app) == "Probably an Egyptian cat (36%)"
    assert "Other guesses: tabby (23%), tiger cat (15%)" in texts(app)
    assert not app.exception


def test_a_sample_takes_the_place_of_uploaded_files(app: AppTest, photograph: bytes) -> None:
    upload(app.run(), ("mine.jpg", photograph))
    app.button(key=SAMPLE).click().run()
    assert not app.file_uploader[0].value
    upload(app, ("mine.jpg", photograph))
    assert app.file_uploader[0].value
    assert headline(app) == "Probably an Egyptian cat (36%)"


def test_another_number_of_classes_or_a_visit_to_the_other_page_costs_no_second_request(
    app: AppTest, service: FakeService
) -> None:
    app.run().button(key=SAMPLE).click().run()
    app.slider(key="classify_top_k").set_value(12).run()
    assert len(app.get("json")[0].proto.body.split('"class_id"')) == 12 + 1
    app.switch_page("views/performance.py").run()
    app.switch_page("views/classify.py").run()
    assert headline(app) == "Probably an Egyptian cat (36%)"
    assert len(classified(service)) == 1


def test_another_model_is_asked_once_and_the_first_ones_answer_is_kept(app: AppTest, service: FakeService) -> None:
    app.run().button(key=SAMPLE).click().run()
    for model in ("efficientnet_lite1", "efficientnet_lite0", "efficientnet_lite1"):
        app.selectbox(key="classify_model").select(model).run()
    asked = [request.query["model"] for request in service.seen("/v1/classify")]
    assert asked == ["efficientnet_lite0", "efficientnet_lite1"]


def test_a_warning_is_told_in_plain_words(app: AppTest, turned_photograph: bytes) -> None:
    upload(app.run(), ("turned.jpg", turned_photograph))
    assert "Rotated to match the photo's orientation tag" in texts(app)


def test_a_corrupt_file_is_one_calm_sentence_and_its_neighbours_are_answered(app: AppTest, photograph: bytes) -> None:
    upload(app.run(), ("broken.jpg", photograph[: len(photograph) // 2]), ("fine.jpg", photograph))
    assert len(app.error) == 1
    assert "JPEG is truncated" in app.error[0].value
    assert "code: undecodable_image\nrequest: fake-" in app.code[0].value
    assert "fine" in app.expander[1].label
    assert not app.exception


def test_an_upload_is_sent_as_it_is_and_its_picture_is_the_services_own(
    app: AppTest, service: FakeService, photograph: bytes
) -> None:
    upload(app.run(), ("a.heic", photograph))

    assert [request.body for path in ("classify", "preview") for request in service.seen(f"/v1/{path}")] == [
        photograph
    ] * 2
    assert headline(app) == "Probably an Egyptian cat (36%)"
    assert not app.info


def test_an_answer_is_shown_without_a_picture_where_none_can_be_had(
    app: AppTest, service: FakeService, photograph: bytes
) -> None:
    service.refuse("overloaded", path="/v1/preview", retry_after_s=1)
    answer = service_data.classification(top_k=20, warnings=("icc_profile_ignored",))
    service.answer_json(answer.model_dump(mode="json"), path="/v1/classify")
    app.run()
    upload(app, ("a.jpg", photograph))

    assert "has no preview here" in app.info[0].value
    assert headline(app) == "Probably an Egyptian cat (36%)"
    assert "The image's colour profile was ignored" in texts(app)
    service.behave()
    app.run()
    assert not app.info


def test_a_refused_image_is_asked_again_only_when_the_visitor_says_so(app: AppTest, service: FakeService) -> None:
    service.refuse("inference_failed", path="/v1/classify", times=1)
    app.run().button(key=SAMPLE).click().run()
    app.run()
    assert len(classified(service)) == 1
    app.button(key="classify_again").click().run()
    assert len(classified(service)) == 2
    assert headline(app) == "Probably an Egyptian cat (36%)"


def test_more_files_than_allowed_are_skipped_and_named(
    app: AppTest, service: FakeService, photograph: bytes, turned_photograph: bytes
) -> None:
    files = [(f"{number}.jpg", photograph + bytes([number])) for number in range(25)]
    upload(app.run(), *files)
    assert len(classified(service)) == 20
    assert "5 files skipped: 20.jpg, 21.jpg, 22.jpg, 23.jpg, 24.jpg. At most 20 images" in texts(app)


def test_answers_stay_while_the_service_is_away(app: AppTest, service: FakeService) -> None:
    app.run().button(key=SAMPLE).click().run()
    service.stop()
    forget_reads()
    app.run()
    assert "Nothing answers" in texts(app)
    assert headline(app) == "Probably an Egyptian cat (36%)"


@pytest.mark.parametrize("was_there", [True, False])
def test_an_image_given_while_the_service_is_away_is_classified_on_its_return(
    app: AppTest, service: FakeService, was_there: bool
) -> None:
    if was_there:
        app.run()
    service.stop()
    if not was_there:
        app.run()
    app.button(key=SAMPLE).click().run()
    assert "coffee.png waits" in texts(app) or was_there
    assert not app.exception
    service.start()
    app.button(key="classify_retry").click().run()
    assert headline(app) == "Probably an Egyptian cat (36%)"
    assert not app.warning
    assert app.selectbox(key="classify_model").value == "efficientnet_lite0"


@pytest.mark.parametrize(
    ("break_service", "words"),
    [
        (lambda service: setattr(service, "is_loading", True), "warming up"),
        (lambda service: service.answer(502, b"<h1>Bad gateway</h1>"), "HTTP 502"),
        (lambda service: service.stop(), "Nothing answers at {url}"),
    ],
    ids=["loading", "a proxy's page", "down"],
)
def test_a_service_that_cannot_answer_is_a_banner(
    app: AppTest, service: FakeService, break_service: Callable[[FakeService], object], words: str
) -> None:
    break_service(service)
    app.run()
    assert words.format(url=service.url) in texts(app)
    assert bool(app.warning) is (words != "warming up")
    assert not app.exception


def test_a_pasted_image_is_classified(app: AppTest, service: FakeService, photograph: bytes) -> None:
    app.run().segmented_control(key="classify_source").set_value("Paste").run()
    app.chat_input(key="classify_paste").upload("image.png", photograph, "image/png").run()
    assert [request.body for request in service.seen("/v1/classify")] == [photograph]


@pytest.mark.parametrize(
    ("is_cached", "words", "charts"),
    [
        (True, "**0.6 ms** in the service · Served from cache; the model did not run", 1),
        (False, "Ran in a batch of 4, no batching delay", 2),
    ],
)
def test_an_answer_says_how_it_was_made_and_draws_the_stages_that_it_has(
    app: AppTest, service: FakeService, is_cached: bool, words: str, charts: int
) -> None:
    computed = service_data.classification(top_k=20)
    answer = service_data.cached(computed) if is_cached else computed
    service.answer_json(answer.model_dump(mode="json"), path="/v1/classify")
    app.run().button(key=SAMPLE).click().run()
    assert words in texts(app)
    assert len(app.get("vega_lite_chart")) == charts


def test_a_file_that_is_no_image_takes_the_place_of_the_old_answer(app: AppTest) -> None:
    app.run().button(key=SAMPLE).click().run()
    upload(app, ("notes.txt", b"hello"))
    assert "notes.txt" in app.error[0].proto.title.replace("\\", "")
    assert not app.header


def test_text_that_is_pasted_keeps_the_answer_and_is_said_to_be_text(app: AppTest) -> None:
    app.run().button(key=SAMPLE).click().run()
    app.segmented_control(key="classify_source").set_value("Paste").run()
    app.chat_input(key="classify_paste").set_value("a tabby cat").run()
    assert headline(app) == "Probably an Egyptian cat (36%)"
    assert "That was text." in texts(app)


def test_a_shot_is_classified_and_closes_the_camera(app: AppTest, service: FakeService, photograph: bytes) -> None:
    assert not app.run().get("camera_input")
    app.segmented_control(key="classify_source").set_value("Camera").run()
    app.camera_input[0].set_value(("shot.jpg", photograph, "image/jpeg")).run()
    assert [request.body for request in service.seen("/v1/classify")] == [photograph]
    assert not app.get("camera_input")


def test_a_samples_address_shows_it_again(app: AppTest, service: FakeService) -> None:
    app.run().button(key=SAMPLE).click().run()
    assert app.query_params["sample"] == "coffee"
    app.query_params["sample"] = "macaws"
    app.run()
    assert service.seen("/v1/classify")[-1].body == (FOLDER / "macaws.png").read_bytes()


def test_an_own_images_address_shows_its_receipt_and_how_to_get_the_image_back(app: AppTest, photograph: bytes) -> None:
    upload(app.run(), ("mine.jpg", photograph))
    assert app.query_params["request"].startswith("fake-")
    assert "sample" not in app.query_params
    app.query_params["request"] = "past-0003"
    app.run()
    assert headline(app) == "Probably an Egyptian cat (36%)"
    assert "Request: past-0003" in texts(app).replace("*", "")
    assert "upload it again" in texts(app)
    app.query_params["request"] = "nobody"
    app.run()
    assert "There is no request nobody" in texts(app)
    assert not app.exception


def test_an_address_that_names_nothing_is_said_and_not_dropped(app: AppTest) -> None:
    app.query_params["sample"] = "unicorn"
    app.query_params["classify_model"] = "resnet5000"
    app.run()
    assert "sample='unicorn'. Allowed: macaws, coffee, tripod, astronaut." in texts(app)
    assert "classify_model='resnet5000'" in texts(app)
    assert "efficientnet_lite2" in app.warning[0].value.replace("\\", "")
    app.button(key="dismiss_notes").click().run()
    assert not app.warning


@pytest.mark.parametrize("code", ["journal_unavailable", "invalid_parameter"])
def test_a_request_that_cannot_be_read_is_asked_for_once_and_not_over_and_over(
    app: AppTest, service: FakeService, code: str
) -> None:
    service.refuse(code, path="/v1/history")
    app.query_params["request"] = "past-0003"
    app.run()
    assert f"The fake service says {code}." in texts(app)
    assert len(service.seen("/v1/history/requests")) == 1
