from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from altair.typing import ChartType
from hypothesis import given
from hypothesis import strategies as st

from dashboard.charts import answer, counts, history
from dashboard.charts.axes import round_up
from lightbox_client.contract import History, Prediction, TimingsMs
from tests.fakes import service_data

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def spec_of(chart: ChartType) -> dict[str, Any]:
    spec: dict[str, Any] = chart.to_dict()
    return spec


def rows_of(spec: dict[str, Any], layer: int | None = None) -> list[dict[str, Any]]:
    source = spec if layer is None else spec["layer"][layer]
    data = source.get("data") or spec["data"]
    rows: list[dict[str, Any]] = spec["datasets"][data["name"]]
    return rows


def window(minutes: int = 15, buckets: int = 15, *, is_empty: bool = False) -> History:
    return service_data.history(NOON - timedelta(minutes=minutes), NOON, buckets, None, is_empty=is_empty)


def test_scores_keep_the_services_order_on_an_axis_from_zero_to_one() -> None:
    spec = spec_of(answer.scores(service_data.ranked_predictions(3), ink="#000000"))
    assert [row["label"] for row in rows_of(spec)] == ["Egyptian cat", "tabby", "tiger cat"]
    for layer in spec["layer"]:
        assert layer["encoding"]["x"]["scale"]["domain"] == [0, 1]
        assert layer["encoding"]["y"]["sort"] is None  # as the rows come


def test_two_classes_of_one_name_get_two_bars() -> None:
    cranes = [Prediction(class_id=134, label="crane", score=0.6), Prediction(class_id=517, label="crane", score=0.3)]
    labels = [row["label"] for row in rows_of(spec_of(answer.scores(cranes, ink="#000000")))]
    assert labels == ["crane (134)", "crane (517)"]


def test_the_stage_bar_is_as_long_as_the_total() -> None:
    timings = TimingsMs(receive=1.0, decode=2.0, queue=3.0, inference=4.0, total=12.5)
    spec = spec_of(answer.stages(timings))
    rows = rows_of(spec)
    assert rows[-1]["end"] == pytest.approx(12.5)
    assert [row["stage"] for row in rows] == [
        "receive 1.0 ms",
        "decode 2.0 ms",
        "queue 3.0 ms",
        "inference 4.0 ms",
        "other 2.5 ms",
    ]
    assert spec["encoding"]["x"]["scale"]["domain"] == [0, 12.5]


def test_each_stage_begins_where_the_one_before_ends() -> None:
    rows = rows_of(spec_of(answer.stages(service_data.timings_ms())))
    assert [row["start"] for row in rows[1:]] == pytest.approx([row["end"] for row in rows[:-1]])


def test_rates_are_counts_divided_by_the_buckets_seconds() -> None:
    traffic = window()
    rows = rows_of(spec_of(history.rates(traffic)), 0)
    first = traffic.buckets[0]
    stacked = [row for row in rows if row["start"] == rows[0]["start"]]
    assert stacked[-1]["high"] == pytest.approx(first.count / 60)
    assert {row["kind"]: row["value"] for row in stacked}["errors"] == pytest.approx(first.errors / 60)


def test_a_bucket_that_reaches_past_the_window_is_divided_by_what_has_passed_of_it() -> None:
    traffic = window(buckets=1)
    young = traffic.model_copy(update={"until": traffic.since + timedelta(seconds=10)})
    rows = rows_of(spec_of(history.rates(young)), 0)
    assert rows[-1]["high"] == pytest.approx(traffic.buckets[0].count / 10)


def test_percentiles_without_answers_are_gaps_and_not_zeros() -> None:
    rows = rows_of(spec_of(history.latencies(window(is_empty=True), 100.0)), 0)
    assert all(row["value"] is None for row in rows)


def test_a_target_in_sight_is_drawn_and_named() -> None:
    spec = spec_of(history.latencies(window(), 50.0))
    names = [row.get("name") for layer in range(len(spec["layer"])) for row in rows_of(spec, layer)]
    assert "target 50 ms" in names


def test_a_target_far_above_all_that_was_measured_does_not_flatten_the_lines() -> None:
    spec = spec_of(history.latencies(window(), 60_000.0))
    assert spec["layer"][0]["encoding"]["y"]["scale"]["domain"] == [0, 50.0]
    assert not history.is_target_in_sight(window(), 60_000.0)


def test_stages_are_stacked_medians() -> None:
    traffic = window()
    rows = rows_of(spec_of(history.stages(traffic)), 0)[:4]
    medians = [traffic.buckets[0].stages_ms[stage].p50 for stage in history.HISTORY_STAGES]
    assert [row["value"] for row in rows] == medians
    assert rows[-1]["high"] == pytest.approx(sum(value or 0.0 for value in medians))


def test_every_axis_of_values_begins_at_zero() -> None:
    for chart in (history.rates(window()), history.stages(window()), history.latencies(window(), None)):
        for layer in spec_of(chart)["layer"]:
            if "y" in layer["encoding"] and "scale" in layer["encoding"]["y"]:
                assert layer["encoding"]["y"]["scale"]["domain"][0] == 0


def test_a_dimmed_chart_is_the_same_chart_fainter() -> None:
    fresh, stale = history.rates(window()), history.dim(history.rates(window()))
    assert spec_of(stale)["config"]["mark"]["opacity"] == history.STALE_OPACITY
    assert spec_of(stale)["layer"] == spec_of(fresh)["layer"]


def test_the_points_of_a_dimmed_line_are_dimmed_too() -> None:
    line = spec_of(history.dim(history.latencies(window(), None)))["layer"][0]["mark"]
    assert "point" not in line  # the points that a line brings along keep their full colour


def test_batch_sizes_are_in_order_of_size() -> None:
    rows = rows_of(spec_of(counts.batch_sizes({16: 1, 2: 5, 1: 9})))
    assert [(row["size"], row["count"]) for row in rows] == [("1", 9), ("2", 5), ("16", 1)]


def test_one_batch_size_is_a_bar_and_not_a_wall() -> None:
    widths = [spec_of(counts.batch_sizes(dict.fromkeys(sizes, 1)))["mark"]["width"] for sizes in ([1], range(1, 33))]
    assert widths == [{"band": counts.NARROWEST_BAR}, {"band": counts.WIDEST_BAR}]


def test_a_ranking_keeps_the_order_that_it_is_given() -> None:
    spec = spec_of(counts.ranking({"zebra": 5, "ant": 3}, title="answers"))
    assert [row["name"] for row in rows_of(spec)] == ["zebra", "ant"]
    assert spec["encoding"]["y"]["sort"] is None


@given(st.floats(min_value=1e-6, max_value=1e12))
def test_an_axis_ends_at_or_above_its_data_and_wastes_little(value: float) -> None:
    assert value <= round_up(value) <= 2.5 * value * (1 + 1e-9)


@given(st.floats(min_value=1e-6, max_value=1e9), st.floats(min_value=1.0, max_value=10.0))
def test_more_data_never_shortens_an_axis(value: float, factor: float) -> None:
    assert round_up(value) <= round_up(value * factor)


def test_an_axis_without_data_has_a_length() -> None:
    assert round_up(0.0) == 1.0
