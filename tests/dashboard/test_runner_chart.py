from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.charts import history, runner
from dashboard.charts.palette import SERIES
from lightbox_client.contract import BatchCost, ModelCost
from tests.fakes import service_data

MILLISECONDS = st.floats(min_value=0.01, max_value=60_000)


def one_size(measured_ms: float, current_ms: float, mode: str = "throughput") -> ModelCost:
    batch = BatchCost(batch_size=1, measured_ms=measured_ms, current_ms=current_ms, samples=3)
    return ModelCost(model="cat", mode=mode, ceiling=1, speed=measured_ms / current_ms, batches=[batch])


def spec_of(costs: list[ModelCost]) -> dict[str, Any]:
    spec: dict[str, Any] = runner.batch_costs(costs).to_dict()
    return spec


def marks_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    (rows,) = spec["datasets"].values()
    marks: list[dict[str, Any]] = rows
    return marks


def test_each_size_is_drawn_at_warm_up_and_now_with_its_share_for_one_image() -> None:
    marks = marks_of(spec_of(service_data.model_costs(["cat"])[:1]))
    twos = {mark["when"]: mark["value_ms"] for mark in marks if mark["size"] == 2}
    assert twos == {runner.WARM_UP: pytest.approx(12.0), runner.NOW: pytest.approx(15.0)}
    assert {mark["said"] for mark in marks if mark["size"] == 2} >= {"cat, batch of 2, at warm-up: 12.0 ms"}
    assert {mark["image_ms"] for mark in marks if mark["when"] == runner.NOW} == {7.5}


def test_sizes_above_the_ceiling_are_hollow() -> None:
    costs = service_data.model_costs(["cat"])
    assert [mark["size"] for mark in marks_of(spec_of(costs)) if not mark["is_within"]] == [8, 8]
    assert runner.has_sizes_above_ceiling(costs)
    assert not runner.has_sizes_above_ceiling([one_size(4.0, 5.0)])


def test_the_mode_is_named_only_where_there_are_several() -> None:
    assert runner.line_names(service_data.model_costs(["cat"])) == ["cat, throughput", "cat, latency"]
    assert runner.line_names([one_size(4.0, 5.0)]) == ["cat"]


def test_each_line_has_a_colour_of_its_own() -> None:
    costs = service_data.model_costs(["cat", "dog", "fox"])
    assert len(costs) == runner.MAX_LINES == len(set(SERIES))
    assert spec_of(costs)["layer"][0]["encoding"]["color"]["scale"]["range"] == list(SERIES)


@given(MILLISECONDS, MILLISECONDS)
def test_a_model_of_one_size_has_axes_with_a_length_that_hold_it(measured_ms: float, current_ms: float) -> None:
    encoding = spec_of([one_size(measured_ms, current_ms)])["layer"][0]["encoding"]
    left, right = encoding["x"]["scale"]["domain"]
    bottom, top = encoding["y"]["scale"]["domain"]
    assert left < 1 < right
    assert bottom == 0
    assert top >= max(measured_ms, current_ms)


def test_a_longer_legend_leaves_the_plot_as_high() -> None:
    heights = [spec_of(service_data.model_costs(["cat"])[:lines])["height"] for lines in (1, 2)]
    assert heights[1] - heights[0] == runner.LEGEND_ROW_PX


def test_a_dimmed_cost_chart_has_no_mark_that_keeps_its_colour() -> None:
    spec = history.dim(runner.batch_costs(service_data.model_costs(["cat"]))).to_dict()
    assert spec["config"]["mark"]["opacity"] == history.STALE_OPACITY
    assert all("opacity" not in layer["mark"] for layer in spec["layer"])
