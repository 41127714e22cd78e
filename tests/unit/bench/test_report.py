import json
import re
from pathlib import Path

from bench.charts import draw_charts
from bench.environment import RESULTS
from bench.records import REPEATS, read_cache_ratios, read_comparison, to_json
from bench.report import render_page, render_summary
from tests.unit.bench.comparisons import make_comparison


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    path.write_text(json.dumps(to_json(make_comparison())))
    assert to_json(read_comparison(path)) == to_json(make_comparison())


def test_the_summary_has_a_row_for_the_ceiling_and_for_each_server_that_came() -> None:
    names = [line.split("|")[1].strip() for line in render_summary(make_comparison()).splitlines()[2:]]
    assert names == ["no server, the ceiling", "Lightbox", "FastAPI, a thread a request"]


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    comparison = make_comparison(interruptions=["Triton answered nothing"])
    page = render_page(comparison, RESULTS / "compare.json", list(draw_charts(comparison)))
    assert "| Triton |  |  |  | could not be installed: no wheel \\| none |" in page
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1, table


def test_a_comparison_with_one_peer_and_one_round_only_makes_a_page_too() -> None:
    closed = [run for run in make_comparison().runs if run.loop == "closed"]
    comparison = make_comparison(runs=closed, steps=[], model_counts=[], memory_samples=[])
    assert "## Open loop" not in render_page(comparison, RESULTS / "compare.json", list(draw_charts(comparison)))


def test_the_cache_is_shown_from_a_result_of_its_own(tmp_path: Path) -> None:
    result = tmp_path / "cache.json"
    result.write_text(json.dumps({"traffic": [{"traffic": REPEATS, "ratio": 11.5}]}))
    page = render_page(make_comparison(), RESULTS / "compare.json", [], read_cache_ratios(result))
    assert "| ≥ 10 × without it | 11.50 | reached |" in page
    assert "cache.json)" in page
