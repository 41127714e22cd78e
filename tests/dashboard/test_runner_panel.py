from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lightbox_client.contract import DeviceInfo, ModelEngine
from tests.dashboard.screen import forget_reads, texts
from tests.fakes import service_data
from tests.fakes.service import FakeService

SECTIONS = ["What a batch costs", "Max batch and speed", "Last batches", "The cache"]


def open_runner(app: AppTest) -> AppTest:
    """The Performance page with the section unfolded, as a link to it shows it."""
    app.run()
    app.query_params["perf_runner"] = "true"
    return app.switch_page("views/performance.py").run()


def say(service: FakeService, **changes: object) -> None:
    """Let the service's status differ in these fields."""
    service.answer_json(service_data.status().model_copy(update=changes).model_dump(mode="json"), path="/v1/status")


def say_without(service: FakeService, *fields: str) -> None:
    """Let the service's status lack these fields."""
    service.answer_json(service_data.status().model_dump(mode="json", exclude=set(fields)), path="/v1/status")


def titles(app: AppTest) -> list[str]:
    return [subheader.value for subheader in app.subheader if subheader.value in SECTIONS]


def frame(app: AppTest, column: str) -> Any:
    """The table that has this column."""
    return next(table.value for table in app.dataframe if column in table.value)


def figures(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_the_section_is_folded_away_and_costs_nothing_then(performance: AppTest) -> None:
    assert [folded.label for folded in performance.expander] == ["Scheduler"]
    assert not titles(performance)


def test_a_link_shows_the_section_unfolded_with_every_model_mode_and_batch(app: AppTest) -> None:
    open_runner(app)
    assert titles(app) == SECTIONS
    assert not app.exception
    speeds, batches = frame(app, "max batch"), frame(app, "why")
    assert list(speeds["max batch"])[:2] == [service_data.CEILING, 1]
    assert list(speeds["speed"])[:2] == pytest.approx([80.0, 100.0])
    reasons = ["No batching delay", "From the queue", "No batching delay", "Waited to fill a batch"]
    assert list(batches["why"])[:4] == reasons
    assert list(batches["ago"])[:2] == ["0.0 s", "0.7 s"]
    assert "No batching delay: 8" in texts(app)
    assert figures(app)["Hit rate"] == "32%"
    assert "135 answers in 667.4 kB of the worker's memory" in texts(app)


def test_the_chosen_model_alone_is_shown(app: AppTest) -> None:
    open_runner(app).selectbox(key="perf_model").select("efficientnet_lite1").run()
    assert set(frame(app, "max batch")["model"]) == {"efficientnet_lite1"}
    assert set(frame(app, "why")["model"]) == {"efficientnet_lite1"}


def test_a_cache_without_look_ups_has_no_hit_rate_and_one_that_is_off_says_how_to_switch_it_on(
    app: AppTest, service: FakeService
) -> None:
    say(service, cache=dict.fromkeys(service_data.CACHE, 0.0))
    assert figures(open_runner(app))["Hit rate"] == "–"
    service.behave()
    say(service, cache={})
    forget_reads()
    app.run()
    assert "LIGHTBOX_CACHE_BYTES" in texts(app)
    assert "Hit rate" not in figures(app)


@pytest.mark.parametrize(("reachable", "sentence"), [(0.0, "Redis does not answer"), (1.0, "share in Redis")])
def test_a_shared_cache_says_whether_redis_answers(
    app: AppTest, service: FakeService, reachable: float, sentence: str
) -> None:
    say(service, cache={**service_data.CACHE, "redis_reachable": reachable, "redis_unwritten": 0.0})
    assert sentence in texts(open_runner(app))


def test_a_runner_without_batches_or_requests_is_shown_and_said_to_be_one_of_several(
    app: AppTest, service: FakeService
) -> None:
    service.journal.is_empty = True
    say(service, recent_dispatches=[], workers=3)
    assert "No batch has run lately" in texts(open_runner(app))
    assert "one of 3 workers, the one that answered" in texts(app)
    assert titles(app) == SECTIONS


def test_an_older_service_that_says_nothing_of_its_runner_is_called_older(app: AppTest, service: FakeService) -> None:
    say_without(service, "cost", "recent_dispatches", "cache")
    assert "older than the dashboard" in texts(open_runner(app))
    assert not titles(app)


def test_a_worker_that_still_loads_has_nothing_to_say(app: AppTest, service: FakeService) -> None:
    service.answer_json(service_data.status("loading").model_dump(mode="json"), path="/v1/status")
    assert "still loading its models" in texts(open_runner(app))
    assert not titles(app)


def test_more_lines_than_colours_are_left_out_and_said_so(app: AppTest, service: FakeService) -> None:
    say(service, cost=service_data.model_costs(["cat", "dog", "fox", "hen"]))
    assert "6 of 8 lines" in texts(open_runner(app))
    assert len(frame(app, "max batch")) == 8


def test_a_reason_that_this_dashboard_does_not_know_is_spelt_out(app: AppTest, service: FakeService) -> None:
    (first, *_) = service_data.status().recent_dispatches
    say(service, recent_dispatches=[first.model_copy(update={"reason": "lane_warmed"})])
    assert list(frame(open_runner(app), "why")["why"]) == ["Lane warmed"]
    assert not app.exception


def test_a_service_that_goes_away_leaves_the_runners_last_figures_in_grey(app: AppTest, service: FakeService) -> None:
    open_runner(app)
    service.stop()
    forget_reads()
    app.run()
    assert figures(app)["Hit rate"].startswith(":gray[")
    assert titles(app) == SECTIONS
    assert not app.exception


def test_the_strip_names_every_engine_and_device_and_the_first_models_of_an_older_service(
    app: AppTest, service: FakeService
) -> None:
    status = service_data.status()
    gpu = DeviceInfo(kind="cuda", name="NVIDIA H200", memory_bytes=141 * 2**30, cores=16)
    engines = {**status.engines, "efficientnet_lite2": ModelEngine(engine="torch", precision="fp16", device=gpu)}
    say(service, engines=engines)

    shown = texts(open_runner(app))
    assert "openvino, torch on GPU" in shown
    assert "a CPU, 2 cores, 7 GiB" in shown
    assert "NVIDIA H200, 16 cores, 141 GiB" in shown

    service.behave()
    say_without(service, "engines")
    forget_reads()
    shown = texts(app.run())
    assert "torch on GPU" not in shown
    assert "a CPU, 2 cores, 7 GiB" in shown
