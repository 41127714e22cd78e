import json
from pathlib import Path

import pytest

from bench.cache_result import REPEATS, read_cache_ratios
from bench.charts import draw_charts
from bench.environment import RESULTS
from bench.records import Comparison, read_comparison, to_json
from bench.report import render_page, render_summary
from tests.unit.bench.comparisons import make_comparison


@pytest.fixture
def page() -> str:
    comparison = make_comparison(interruptions=["Triton answered nothing"])
    return render_page(comparison, RESULTS / "compare.json", list(draw_charts(comparison)))


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    path.write_text(json.dumps(to_json(make_comparison())))
    assert to_json(read_comparison(path)) == to_json(make_comparison())


def test_a_peer_that_could_not_be_had_is_a_row_with_the_reason(page: str) -> None:
    assert "| Triton |  |  |  | could not be installed: no wheel \\| none |" in page


def test_the_summary_has_a_row_for_the_ceiling_and_for_each_server_that_came() -> None:
    comparison = make_comparison()
    came = [participant.name for participant in comparison.participants if participant.unavailable is None]

    names = [line.split("|")[1].strip() for line in render_summary(comparison).splitlines()[2:]]

    assert names == ["no server, the ceiling", *came]


def test_every_row_of_a_table_has_as_many_cells_as_its_head(page: str) -> None:
    columns = None
    for line in page.splitlines():
        cells = line.replace("\\|", "").count("|")
        if not cells:
            columns = None
        else:
            columns = columns or cells
            assert cells == columns, line


def test_a_comparison_with_one_peer_and_one_round_only_makes_a_page_too() -> None:
    comparison: Comparison = make_comparison(
        runs=[run for run in make_comparison().runs if run.loop == "closed"],
        steps=[],
        model_counts=[],
        memory_samples=[],
    )
    assert "## Open loop" not in render_page(comparison, RESULTS / "compare.json", list(draw_charts(comparison)))


def test_the_cache_is_shown_from_a_result_of_its_own(tmp_path: Path) -> None:
    result = tmp_path / "cache.json"
    result.write_text(json.dumps({"traffic": [{"traffic": REPEATS, "ratio": 11.5}]}))
    page = render_page(make_comparison(), RESULTS / "compare.json", [], read_cache_ratios(result))
    assert "| ≥ 10 × without it | 11.50 | reached |" in page
    assert "cache.json)" in page
