from datetime import UTC, datetime, timedelta

import pytest
from streamlit.testing.v1 import AppTest

from lightbox_client.contract import ClassCount, QuantilesMs
from tests.dashboard.screen import forget_reads, texts
from tests.fakes import service_data
from tests.fakes.service import FakeService

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def window_s(service: FakeService) -> float:
    """The length of the window that was asked for last, in seconds."""
    query = service.seen("/v1/history")[-1].query
    return (datetime.fromisoformat(query["until"]) - datetime.fromisoformat(query["since"])).total_seconds()


def say_total(service: FakeService, **changes: object) -> None:
    """Let the service's history differ in these fields of its total."""
    history = service_data.history(NOON - timedelta(minutes=15), NOON, 60)
    total = history.total.model_copy(update=changes)
    service.answer_json({"requests": []}, path="/v1/history/requests")
    service.answer_json(history.model_copy(update={"total": total}).model_dump(mode="json"), path="/v1/history")


def test_the_figures_are_the_services_own(performance: AppTest) -> None:
    figures = [(metric.label, metric.value) for metric in performance.metric]
    assert figures[2:5] == [("Failures", "2.0%"), ("Rejected (overload)", "5.0%"), ("Client errors", "2.5%")]
    # Of computed answers, then of those from the cache.
    assert figures[5:9] == [("Median (p50)", "13.0"), ("p95", "23.4"), ("p99", "33.8"), ("Slowest", "52.0")]
    assert figures[9:] == [("Median (p50)", "0.6"), ("p95", "1.1"), ("p99", "1.6"), ("Slowest", "2.4")]
    assert "answers from the cache" in texts(performance)
    assert not performance.exception


@pytest.mark.parametrize(
    ("changes", "sentence", "charts"),
    [
        ({"cached": 0, "cached_ms": QuantilesMs()}, "No answers from the cache", 6),
        ({"total_ms": QuantilesMs(), "batch_sizes": {}}, "the model did not run", 4),
        ({"outcomes": {"undecodable_image": 4}, "batch_sizes": {}, "top_classes": []}, "No answers in this window", 2),
    ],
)
def test_a_kind_of_answers_that_did_not_come_is_said_instead_of_drawn(
    app: AppTest, service: FakeService, changes: dict[str, object], sentence: str, charts: int
) -> None:
    say_total(service, **changes)
    app.run().switch_page("views/performance.py").run()
    assert sentence in texts(app)
    assert len(app.get("vega_lite_chart")) == charts
    assert not app.exception


def test_classes_of_one_name_are_told_apart(app: AppTest, service: FakeService) -> None:
    say_total(service, top_classes=[ClassCount(class_id=one, label="crane", count=3) for one in (134, 517)])
    app.run().switch_page("views/performance.py").run()
    chart = str(app.get("vega_lite_chart")[4].proto)
    assert "crane (134)" in chart
    assert "crane (517)" in chart


def test_every_chart_of_a_window_with_traffic_is_drawn(performance: AppTest) -> None:
    titles = [subheader.value for subheader in performance.subheader]
    lower = ["Batch sizes", "Classes", "Errors and rejections"]
    assert titles == ["Traffic", "Latency", "Where the time goes", *lower]
    assert [header.value for header in performance.header] == ["Last 15 minutes", "Requests"]
    *_, errors = charts = performance.get("vega_lite_chart")
    assert len(charts) == 6
    assert "Rejected (overload)" in str(errors.proto)
    assert "Undecodable image" in str(errors.proto)


def test_another_window_asks_for_that_stretch_of_time(performance: AppTest, service: FakeService) -> None:
    performance.segmented_control(key="perf_window").set_value("24h").run()
    assert window_s(service) == 24 * 3600
    assert service.seen("/v1/history")[-1].query["buckets"] == "96"


def test_the_model_filter_reaches_history_and_receipts(performance: AppTest, service: FakeService) -> None:
    performance.selectbox(key="perf_model").select("efficientnet_lite2").run()
    assert service.seen("/v1/history")[-1].query["model"] == "efficientnet_lite2"
    assert service.seen("/v1/history/requests")[-1].query["model"] == "efficientnet_lite2"
    assert set(performance.dataframe[0].value["model"]) == {"efficientnet_lite2"}


def test_a_link_chooses_window_and_model_and_a_wrong_one_is_said(app: AppTest, service: FakeService) -> None:
    app.run()
    app.query_params.update({"perf_window": "7d", "perf_model": "efficientnet_lite1"})
    app.switch_page("views/performance.py").run()
    assert window_s(service) == 7 * 24 * 3600
    assert service.seen("/v1/history")[-1].query["model"] == "efficientnet_lite1"
    app.query_params.update({"perf_window": "3y", "perf_model": "resnet5000"})
    app.run()
    assert "perf_window='3y'. Allowed: 5m, 15m" in texts(app)
    assert "perf_model='resnet5000'" in texts(app)


def test_the_table_lists_the_slowest_first_and_the_newest_on_demand(performance: AppTest, service: FakeService) -> None:
    totals = list(performance.dataframe[0].value["total"])
    assert totals == sorted(totals, reverse=True)
    performance.segmented_control(key="perf_order").set_value("Newest").run()
    assert service.seen("/v1/history/requests")[-1].query["order"] == "newest"
    assert performance.dataframe[0].value["request"][0] == "past-0000"


def test_a_request_answered_from_the_cache_has_no_time_for_what_it_did_not_do(performance: AppTest) -> None:
    performance.segmented_control(key="perf_order").set_value("Newest").run()
    table = performance.dataframe[0].value.set_index("request")
    assert table.loc["past-0007", "ran"] == "Served from cache"
    assert table.loc["past-0007", ["decode", "inference", "batch"]].isna().all()
    assert table.loc["past-0000", "ran"] == "No batching delay"


def test_visitors_share_a_read_while_it_is_fresh(performance: AppTest, service: FakeService) -> None:
    before = len(service.seen("/v1/history"))
    performance.run()
    assert len(service.seen("/v1/history")) == before


@pytest.mark.parametrize(("model", "of_model"), [("", ""), ("efficientnet_lite1", "for efficientnet_lite1 ")])
def test_an_empty_window_names_its_model_and_says_how_to_make_traffic(
    app: AppTest, service: FakeService, model: str, of_model: str
) -> None:
    service.journal.is_empty = True
    app.run()
    app.query_params["perf_model"] = model
    app.switch_page("views/performance.py").run()
    assert f"No requests {of_model}in the last 15 minutes" in texts(app)
    assert "lightbox classify" in texts(app)
    assert not app.metric


def test_a_service_that_goes_away_leaves_its_last_figures_dimmed_and_dated_until_it_returns(
    performance: AppTest, service: FakeService
) -> None:
    service.stop()
    forget_reads()
    performance.run()
    assert "Nothing answers" in texts(performance)
    assert "Last heard of the service at" in texts(performance)
    assert performance.metric[0].value.startswith(":gray[")
    assert not performance.exception
    service.start()
    performance.button(key="perf_retry").click().run()
    assert not performance.warning
    assert "As of" in texts(performance)


def test_a_service_that_was_never_there_is_a_banner_and_no_figures(app: AppTest, service: FakeService) -> None:
    service.stop()
    app.run().switch_page("views/performance.py").run()
    assert "Nothing answers" in texts(app)
    assert not app.metric
    assert not app.exception


def test_a_journal_that_is_away_is_named_with_its_code(app: AppTest, service: FakeService) -> None:
    service.refuse("journal_unavailable", path="/v1/history")
    app.run().switch_page("views/performance.py").run()
    assert "journal_unavailable" in texts(app)
    assert not app.exception


def test_the_table_is_filtered_by_outcome_in_words(performance: AppTest, service: FakeService) -> None:
    outcomes = performance.selectbox(key="perf_outcome").options
    assert outcomes[0] == "Answered"
    assert {"Rejected (overload)", "Undecodable image"} < set(outcomes)
    performance.segmented_control(key="perf_order").set_value("Newest").run()
    performance.selectbox(key="perf_outcome").select("undecodable_image").run()
    assert service.seen("/v1/history/requests")[-1].query["outcome"] == "undecodable_image"
    assert set(performance.dataframe[0].value["result"]) == {"Undecodable image"}


def test_the_table_is_read_page_by_page_as_of_one_moment(performance: AppTest, service: FakeService) -> None:
    performance.segmented_control(key="perf_order").set_value("Newest").run()
    first = service.seen("/v1/history/requests")[-1].query["until"]
    performance.button(key="perf_next").click().run()
    performance.button(key="perf_next").click().run()
    query = service.seen("/v1/history/requests")[-1].query
    assert (query["offset"], query["until"]) == ("100", first)
    assert list(performance.dataframe[0].value["request"])[-1] == "past-0119"
    assert performance.button(key="perf_next").disabled


def test_another_question_begins_on_its_first_page(performance: AppTest) -> None:
    performance.segmented_control(key="perf_order").set_value("Newest").run()
    performance.button(key="perf_next").click().run()
    performance.selectbox(key="perf_outcome").select("ok").run()
    assert performance.dataframe[0].value["request"][0] == "past-0000"
    assert performance.button(key="perf_previous").disabled


def test_a_request_is_found_by_its_id_and_its_receipt_shown(performance: AppTest) -> None:
    performance.text_input(key="perf_search").set_value(" past-0042 ").run()
    assert list(performance.dataframe[0].value["request"]) == ["past-0042"]
    assert "SHA-256: 0000000000000000…" in texts(performance).replace("*", "")
    performance.text_input(key="perf_search").set_value("nobody").run()
    assert "There is no request with the id nobody." in texts(performance)


def test_a_link_to_a_request_opens_its_receipt_until_it_is_closed(app: AppTest) -> None:
    app.run()
    app.query_params["perf_request"] = "past-0009"
    app.switch_page("views/performance.py").run()
    assert "Outcome: Undecodable image" in texts(app).replace("*", "")
    app.button(key="perf_close").click().run()
    assert "Outcome: Undecodable image" not in texts(app).replace("*", "")


def test_a_link_filters_the_table_by_an_outcome_of_any_window(app: AppTest, service: FakeService) -> None:
    app.run()
    app.query_params["perf_outcome"] = "inference_failed"
    app.switch_page("views/performance.py").run()
    assert service.seen("/v1/history/requests")[-1].query["outcome"] == "inference_failed"
    assert "There is no request like that in this window." in texts(app)
