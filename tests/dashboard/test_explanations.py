from collections.abc import Sequence

import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboard.screen import forget_reads, headline, texts
from tests.fakes.service import FakeService, SeenRequest

SAMPLE = "classify_sample_coffee"
CAT = "Probably an Egyptian cat (36%)"


def asked(service: FakeService) -> Sequence[SeenRequest]:
    return service.seen("/v1/explain")


def switch_on(app: AppTest) -> AppTest:
    app.run().button(key=SAMPLE).click().run()
    return app.toggle[0].set_value(True).run()


def choose(app: AppTest, rank: int) -> AppTest:
    return app.selectbox[1].select_index(rank).run()


def test_a_map_is_asked_for_when_the_visitor_wants_it_and_for_the_class_that_is_looked_at(
    app: AppTest, service: FakeService
) -> None:
    app.run().button(key=SAMPLE).click().run()
    assert not asked(service)

    switch_on(app)
    choose(app, 1)
    choose(app, 0)
    queries = [request.query for request in asked(service)]
    assert [(query["class_id"], query["method"]) for query in queries] == [("285", "cam"), ("281", "cam")]
    assert {query["model"] for query in queries} == {"efficientnet_lite0:v-efficientnet_lite0"}
    assert "Orange speaks for Egyptian cat" in texts(app)


def test_neither_another_opacity_nor_a_visit_to_the_other_page_sends_the_image_again(
    app: AppTest, service: FakeService
) -> None:
    switch_on(app)
    before = len(service.requests)
    for opacity in (0, 40, 100):
        app.slider[0].set_value(opacity).run()
    app.switch_page("views/performance.py").run()
    app.switch_page("views/classify.py").run()
    assert app.toggle[0].value
    assert app.slider[0].value == 100
    sent = [request.path for request in service.requests[before:] if request.method == "POST"]
    assert sent == []


def test_a_map_by_occlusion_is_made_only_after_a_press_on_the_button_that_says_what_it_costs(
    app: AppTest, service: FakeService
) -> None:
    service.refuse("invalid_parameter", path="/v1/explain", times=1)
    switch_on(app)
    assert "runs it 49 times" in texts(app)
    choose(app, 1)
    choose(app, 0)
    assert len(asked(service)) == 1

    app.button[-1].click().run()
    assert [request.query["method"] for request in asked(service)] == ["cam", "occlusion"]
    assert "an estimated map by occlusion" in texts(app)
    assert not app.exception


@pytest.mark.parametrize(
    ("code", "words", "has_button"),
    [
        ("overloaded", "The fake service says overloaded.", True),
        ("not_found", "The service is older than this dashboard and makes no maps.", True),
        ("undecodable_image", "The fake service says undecodable_image.", False),
    ],
)
def test_a_map_that_cannot_be_made_costs_nothing_but_itself(
    app: AppTest, service: FakeService, code: str, words: str, has_button: bool
) -> None:
    service.refuse(code, path="/v1/explain", times=1)
    switch_on(app)
    app.run()
    assert words in texts(app)
    assert headline(app) == CAT
    assert len(app.image) == 1
    assert not app.exception
    assert ("Ask for the map again" in [button.label for button in app.button]) is has_button
    if has_button:
        app.button[-1].click().run()
        assert "Orange speaks for" in texts(app)
    assert len(asked(service)) == 1 + has_button


def test_a_map_that_was_wanted_while_the_service_was_away_is_made_on_its_return(
    app: AppTest, service: FakeService
) -> None:
    app.run().button(key=SAMPLE).click().run()
    service.stop()
    app.toggle[0].set_value(True).run()
    assert "Nothing answers" in texts(app)
    assert "The map is made as soon as the service answers" in texts(app)
    assert headline(app) == CAT
    service.start()
    forget_reads()
    app.button(key="classify_retry").click().run()
    assert "Orange speaks for" in texts(app)
    assert not app.warning


def test_the_switch_stays_on_for_the_next_photograph(app: AppTest, service: FakeService, photograph: bytes) -> None:
    switch_on(app)
    app.file_uploader[0].set_value([("mine.jpg", photograph, "image/jpeg")]).run()
    assert asked(service)[-1].body == photograph
    assert len(asked(service)) == 2


def test_a_class_that_is_no_longer_shown_gives_way_to_the_best_one(app: AppTest, service: FakeService) -> None:
    switch_on(app)
    choose(app, 4)
    app.slider(key="classify_top_k").set_value(2).run()
    assert app.selectbox[1].value == 285
    assert not app.exception
