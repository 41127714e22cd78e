from dataclasses import replace

import pytest

from bench.bars import Bar, best_rate, list_bars
from bench.records import CacheRatios, MemorySample
from tests.unit.bench.comparisons import CEILING, make_comparison, make_open_run, make_run


def find(bars: list[Bar], beginning: str, aim: str = "") -> Bar:
    return next(bar for bar in bars if bar.measure.startswith(beginning) and aim in bar.aim)


def test_a_comparison_that_meets_every_bar_says_so_but_for_an_absent_peer_and_a_gpu() -> None:
    *bars, gpu = list_bars(make_comparison(), CacheRatios(unique=0.98, repeated=12.0))
    assert [bar.aim for bar in bars if bar.is_reached is not True] == ["≥ 1.3 × Triton"] * 2
    assert gpu.measure.startswith("GPU")
    assert gpu.verdict == "not measured"


def test_the_ceiling_of_the_same_round_counts() -> None:
    faster = replace(CEILING, images_per_s=200.0)
    runs = [make_run(images_per_s=90.0, round=0), make_run(images_per_s=180.0, round=1)]
    bar = find(list_bars(make_comparison(ceilings=[CEILING, faster], runs=runs)), "images/s, 16", "ceiling")
    assert (bar.found, bar.verdict) == ("0.90", "**not reached**")


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    bars = list_bars(make_comparison(ceilings=[], runs=[], steps=[], memory_samples=[]))
    assert {bar.is_reached for bar in bars} == {None}


def test_a_peer_counts_by_the_better_of_one_and_two_workers() -> None:
    runs = [make_run("fastapi_openvino", images_per_s=80.0), make_run("fastapi_openvino", images_per_s=95.0, workers=2)]
    assert best_rate(make_comparison(runs=runs), "fastapi_openvino", 16) == 95.0


def test_memory_counts_for_the_workers_alone_and_shows_the_master_beside_them() -> None:
    runs = [make_run(workers=2, memory_bytes=500_000_000, master_bytes=100_000_000)]
    bar = find(list_bars(make_comparison(runs=runs)), "memory, 2 workers together")
    assert (bar.found, bar.is_reached) == ("400 MB; 500 with BentoML's master", True)


GROWING = [MemorySample(60.0 * minute, 100_000_000 * (minute + 1)) for minute in range(9)]


@pytest.mark.parametrize(
    ("measure", "changes"),
    [
        ("overload at 4 × capacity: goodput", {"runs": [make_open_run(4.0, 90.0)]}),
        ("open loop at 80 %", {"runs": [make_run(level=1), make_open_run(0.8, 79.0, refused=1)]}),
        ("memory, 2 workers, over", {"memory_samples": GROWING}),
    ],
)
def test_a_bar_that_is_missed_says_so(measure: str, changes: dict[str, object]) -> None:
    assert find(list_bars(make_comparison(**changes)), measure).is_reached is False
