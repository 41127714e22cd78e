import json
from pathlib import Path

import pytest

from bench.cache_result import NOT_MEASURED, REPEATS, read_cache_ratios
from bench.charts import draw_charts
from bench.environment import RESULTS
from bench.records import Comparison, read_comparison, to_json
from bench.report import render_page, render_summary
from tests.unit.bench.comparisons import ENVIRONMENT, make_comparison


@pytest.fixture
def page() -> str:
    comparison = make_comparison(interruptions=["Triton answered nothing"])
    return render_page(comparison, RESULTS / "compare.json", list(draw_charts(comparison)))


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    path.write_text(json.dumps(to_json(make_comparison())))
    assert to_json(read_comparison(path)) == to_json(make_comparison())


def test_the_page_names_its_command_and_its_result(page: str) -> None:
    assert "`python -m bench.compare`, [result](../bench/results/compare.json)" in page


def test_a_peer_that_could_not_be_had_is_a_row_with_the_reason(page: str) -> None:
    assert "| Triton |  |  |  | could not be installed: no wheel \\| none |" in page


def test_the_summary_has_a_row_for_the_ceiling_and_for_each_server_that_came() -> None:
    comparison = make_comparison()
    came = [participant.name for participant in comparison.participants if participant.unavailable is None]

    names = [line.split("|")[1].strip() for line in render_summary(comparison).splitlines()[2:]]

    assert names == ["no server, the ceiling", *came]


def test_a_load_that_ended_early_is_on_the_page(page: str) -> None:
    assert "Triton answered nothing" in page


def test_every_row_of_a_table_has_as_many_cells_as_its_head(page: str) -> None:
    columns = None
    for line in page.splitlines():
        cells = line.replace("\\|", "").count("|")
        if not cells:
            columns = None
        else:
            columns = columns or cells
            assert cells == columns, line


def test_the_page_shows_every_plot_that_was_drawn(page: str) -> None:
    for name in draw_charts(make_comparison()):
        assert f"(images/{name})" in page


def test_a_comparison_with_one_peer_and_one_round_only_makes_a_page_too() -> None:
    comparison: Comparison = make_comparison(
        runs=[run for run in make_comparison().runs if run.loop == "closed"],
        steps=[],
        model_counts=[],
        memory_samples=[],
    )
    assert "## Open loop" not in render_page(comparison, RESULTS / "compare.json", list(draw_charts(comparison)))


def test_a_commit_with_changes_beside_it_is_shown_with_that_mark() -> None:
    changed = make_comparison(environment={**ENVIRONMENT, "commit": "0123456789abcdef-dirty"})
    assert "at commit 0123456789ab-dirty," in render_page(changed, RESULTS / "compare.json", [])


def test_why_an_aim_was_missed_stands_right_below_the_aims(page: str) -> None:
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings[:2] == ["## What was aimed at", "## What was not reached, and why"]


def test_the_cache_is_shown_from_a_result_of_its_own(tmp_path: Path) -> None:
    result = tmp_path / "cache.json"
    result.write_text(json.dumps({"traffic": [{"traffic": REPEATS, "ratio": 11.5}]}))
    page = render_page(make_comparison(), RESULTS / "compare.json", [], read_cache_ratios(result))
    assert "| ≥ 10 × without it | 11.50 | reached |" in page
    assert "cache.json)" in page


def test_a_result_of_the_caches_costs_alone_measured_no_traffic(tmp_path: Path) -> None:
    result = tmp_path / "cache.json"
    result.write_text(json.dumps({"traffic": []}))
    assert read_cache_ratios(result) == NOT_MEASURED
