from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from altair.typing import ChartType
from hypothesis import given
from hypothesis import strategies as st

from dashboard.charts import answer, counts, history
from dashboard.charts.axes import round_up
from dashboard.charts.palette import BLUE, GREY, LATENCIES, OUTCOMES
from lightbox_client.contract import History, Prediction, QuantilesMs, TimingsMs
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
    return service_data.history(NOON - timedelta(minutes=minutes), NOON, buckets, is_empty=is_empty)


def test_scores_keep_the_services_order_on_an_axis_from_zero_to_one() -> None:
    spec = spec_of(answer.scores(service_data.classification(top_k=3).predictions, ink="#000000"))
    assert [row["label"] for row in rows_of(spec)] == ["Egyptian cat", "tabby", "tiger cat"]
    for layer in spec["layer"]:
        assert layer["encoding"]["x"]["scale"]["domain"] == [0, 1]
        assert layer["encoding"]["y"]["sort"] == {"field": "rank", "op": "min", "order": "ascending"}


def test_of_independent_scores_each_bar_that_applies_is_dark_and_the_axis_says_so() -> None:
    tags = [Prediction(class_id=rank, label=f"tag {rank}", score=score) for rank, score in enumerate((0.9, 0.8, 0.4))]
    spec = spec_of(answer.scores(tags, ink="#000000", is_shared=False))
    encoding = spec["layer"][0]["encoding"]
    assert encoding["x"]["title"] == "score of each class on its own; dark from 50%"
    assert encoding["color"]["condition"][0] == {"test": "(datum.score >= 0.5)", "value": BLUE}


def test_two_classes_of_one_name_get_two_bars() -> None:
    cranes = [Prediction(class_id=134, label="crane", score=0.6), Prediction(class_id=517, label="crane", score=0.3)]
    labels = [row["label"] for row in rows_of(spec_of(answer.scores(cranes, ink="#000000")))]
    assert labels == ["crane (134)", "crane (517)"]


def test_the_stage_bar_is_as_long_as_the_total() -> None:
    timings = TimingsMs(receive=1.0, decode=2.0, queue=3.0, inference=4.0, total=12.5)
    spec = spec_of(answer.stages(timings))
    rows = rows_of(spec)
    stages = {"receive": 1.0, "decode": 2.0, "queue": 3.0, "inference": 4.0, "other": 2.5}
    assert [row["stage"] for row in rows] == [f"{stage} {ms} ms" for stage, ms in stages.items()]
    assert [row["start"] for row in rows] == pytest.approx([0, *(row["end"] for row in rows[:-1])])
    assert rows[-1]["end"] == pytest.approx(12.5)
    assert spec["encoding"]["x"]["scale"]["domain"] == [0, 12.5]


def test_rates_are_counts_divided_by_the_buckets_seconds() -> None:
    traffic = window()
    rows = rows_of(spec_of(history.rates(traffic)), 0)
    first = traffic.buckets[0]
    stacked = {row["kind"]: row for row in rows if row["start"] == rows[0]["start"]}
    assert list(stacked) == list(OUTCOMES)
    assert stacked["cancelled by client"]["high"] == pytest.approx(first.count / 60)
    assert stacked["client errors"]["value"] == pytest.approx((first.client_errors or 0) / 60)


@pytest.mark.parametrize(("passed_s", "divided_by_s"), [(10, 10), (1, history.SHORTEST_RATE_S)])
def test_a_bucket_that_is_not_over_is_divided_by_what_has_passed_of_it_or_a_few_seconds(
    passed_s: float, divided_by_s: float
) -> None:
    traffic = window(buckets=1)
    young = traffic.model_copy(update={"until": traffic.since + timedelta(seconds=passed_s)})
    rows = rows_of(spec_of(history.rates(young)), 0)
    assert rows[-1]["high"] == pytest.approx(traffic.buckets[0].count / divided_by_s)


def latency_rows(traffic: History) -> dict[str, list[float | None]]:
    """The values of each line and dot of the chart, bucket by bucket."""
    values: dict[str, list[float | None]] = {}
    for row in rows_of(spec_of(history.latencies(traffic, 100.0)), 1):
        values.setdefault(row["kind"], []).append(row["value"])
    return values


def test_computed_and_cached_answers_have_lines_and_slowest_dots_of_their_own() -> None:
    traffic = window()
    values = latency_rows(traffic)
    assert set(values) == set(LATENCIES)
    assert values["computed p99"] == [bucket.total_ms.p99 for bucket in traffic.buckets]
    assert values["computed slowest"] == [bucket.total_ms.max for bucket in traffic.buckets]
    assert values["cached p50"] == [bucket.cached_ms.p50 for bucket in traffic.buckets]
    assert values["cached slowest"] == [bucket.cached_ms.max for bucket in traffic.buckets]


def test_percentiles_without_answers_are_gaps_and_not_zeros() -> None:
    assert {value for values in latency_rows(window(is_empty=True)).values() for value in values} == {None}


def test_the_target_is_named_in_a_colour_of_its_own() -> None:
    colours = [*LATENCIES.values(), GREY]
    assert len(colours) == len(set(colours))
    assert "target 50 ms" in str(spec_of(history.latencies(window(), 50.0))["datasets"])


def latency_domain(traffic: History, target_ms: float) -> list[float]:
    domain: list[float] = spec_of(history.latencies(traffic, target_ms))["layer"][1]["encoding"]["y"]["scale"]["domain"]
    return domain


def test_the_axis_of_latencies_always_holds_the_target_and_ignores_small_changes() -> None:
    calm, busy = window(), window(buckets=14)
    assert latency_domain(calm, 1000.0) == latency_domain(busy, 1000.0) == [0.1, 2000.0]


@pytest.mark.parametrize(("value_ms", "target_ms"), [(0.0, 1.0), (0.3, 1000.0), (1000.0, 1000.0), (1e7, 50.0)])
def test_any_latency_and_any_target_lie_on_the_axis(value_ms: float, target_ms: float) -> None:
    traffic = window(buckets=1)
    only = QuantilesMs(p50=value_ms, p95=value_ms, p99=value_ms, max=value_ms)
    bucket = traffic.buckets[0].model_copy(update={"total_ms": only, "cached_ms": QuantilesMs()})
    bottom, top = latency_domain(traffic.model_copy(update={"buckets": [bucket]}), target_ms)
    assert 0 < bottom <= max(value_ms, history.SHORTEST_MS) * (1 + 1e-9)
    assert value_ms <= top
    assert bottom <= target_ms < top


def test_stages_are_stacked_medians() -> None:
    traffic = window()
    rows = rows_of(spec_of(history.stages(traffic)), 0)[:4]
    medians = [traffic.buckets[0].stages_ms[stage].p50 for stage in history.HISTORY_STAGES]
    assert [row["value"] for row in rows] == medians
    assert rows[-1]["high"] == pytest.approx(sum(value or 0.0 for value in medians))


def test_every_axis_of_stacked_values_begins_at_zero() -> None:
    for chart in (history.rates(window()), history.stages(window())):
        encodings = [layer["encoding"].get("y", {}) for layer in spec_of(chart)["layer"]]
        assert {axis["scale"]["domain"][0] for axis in encodings if "scale" in axis} == {0}


def test_a_dimmed_chart_is_the_same_chart_fainter() -> None:
    fresh, stale = history.rates(window()), history.dim(history.rates(window()))
    assert spec_of(stale)["config"]["mark"]["opacity"] == history.STALE_OPACITY
    assert spec_of(stale)["layer"] == spec_of(fresh)["layer"]
    line = spec_of(history.dim(history.latencies(window(), 100.0)))["layer"][1]["mark"]
    assert "point" not in line  # the points that a line brings along keep their full colour


def test_batch_sizes_are_in_order_of_size() -> None:
    rows = rows_of(spec_of(counts.batch_sizes({16: 1, 2: 5, 1: 9})))
    assert [(row["size"], row["count"]) for row in rows] == [(1, 9), (2, 5), (16, 1)]


def test_one_batch_size_is_a_bar_and_not_a_wall() -> None:
    widths = [spec_of(counts.batch_sizes(dict.fromkeys(sizes, 1)))["mark"]["width"] for sizes in ([1], range(1, 33))]
    assert widths == [{"band": counts.NARROWEST_BAR}, {"band": counts.WIDEST_BAR}]


def test_a_ranking_is_ordered_by_count_then_name_whatever_order_it_is_given_in() -> None:
    for given_counts in ({"zebra": 3, "ant": 3, "cat": 9}, {"cat": 9, "ant": 3, "zebra": 3}):
        spec = spec_of(counts.ranking(given_counts, title="answers"))
        assert [(row["rank"], row["name"]) for row in rows_of(spec)] == [(0, "cat"), (1, "ant"), (2, "zebra")]
        # Not the order of the rows: a live chart keeps that of its first ones.
        assert spec["encoding"]["y"]["sort"] == {"field": "rank", "op": "min", "order": "ascending"}


@given(st.floats(min_value=1e-6, max_value=1e12), st.floats(min_value=1.0, max_value=10.0))
def test_an_axis_ends_a_little_above_its_data_and_grows_with_it(value: float, factor: float) -> None:
    assert value <= round_up(value) <= 2.5 * value * (1 + 1e-9)
    assert round_up(value) <= round_up(value * factor)
    assert round_up(0.0) == 1.0
