from bench.bars import Bar, best_rate, list_bars
from bench.cache_result import CacheRatios
from bench.records import MemorySample
from tests.unit.bench.comparisons import CEILING, make_comparison, make_open_run, make_run


def find(bars: list[Bar], beginning: str, aim: str = "") -> Bar:
    return next(bar for bar in bars if bar.measure.startswith(beginning) and aim in bar.aim)


def test_a_comparison_that_meets_every_bar_says_so_but_for_an_absent_peer_and_a_gpu() -> None:
    *bars, gpu = list_bars(make_comparison(), CacheRatios(unique=0.98, repeated=12.0))
    assert [bar.aim for bar in bars if bar.is_reached is not True] == ["≥ 1.3 × Triton"] * 2
    assert gpu.measure.startswith("GPU")
    assert gpu.verdict == "not measured"


def test_a_rate_below_the_ceiling_is_not_reached_and_shows_by_how_much() -> None:
    bar = find(list_bars(make_comparison(runs=[make_run(images_per_s=90.0)])), "images/s, 16", "ceiling")
    assert (bar.found, bar.verdict) == ("0.90", "**not reached**")


def test_the_ceiling_of_the_same_round_counts() -> None:
    faster = type(CEILING)(200.0, 10.0, 10.0, 300.0, 150.0, 40.0, 10.0)
    runs = [make_run(images_per_s=100.0, round=0), make_run(images_per_s=200.0, round=1)]
    bar = find(list_bars(make_comparison(ceilings=[CEILING, faster], runs=runs)), "images/s, 16", "ceiling")
    assert bar.found == "1.00"


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    bars = list_bars(make_comparison(ceilings=[], runs=[], steps=[], memory_samples=[]))
    assert {bar.is_reached for bar in bars} == {None}


def test_a_peer_counts_by_the_better_of_one_and_two_workers() -> None:
    runs = [make_run("fastapi_openvino", images_per_s=80.0), make_run("fastapi_openvino", images_per_s=95.0, workers=2)]
    assert best_rate(make_comparison(runs=runs), "fastapi_openvino", 16) == 95.0


def test_goodput_in_overload_is_held_against_capacity_not_against_what_was_offered() -> None:
    bar = find(list_bars(make_comparison(runs=[make_open_run(4.0, 90.0)])), "overload at 4 × capacity: goodput")
    assert (bar.found, bar.is_reached) == ("0.90", False)


def test_a_cache_that_gains_less_than_was_aimed_at_is_not_reached_and_one_that_was_not_measured_is_neither() -> None:
    bars = list_bars(make_comparison(), CacheRatios(repeated=6.0))
    assert find(bars, "images that repeat").verdict == "**not reached**"
    assert find(bars, "images that never repeat").verdict == "not measured"


def test_memory_counts_for_the_workers_alone_and_shows_the_master_beside_them() -> None:
    runs = [make_run(workers=2, memory_bytes=500_000_000, master_bytes=100_000_000)]
    bar = find(list_bars(make_comparison(runs=runs)), "memory, 2 workers together")
    assert (bar.found, bar.is_reached) == ("400 MB; 500 with BentoML's master", True)


def test_a_refusal_below_capacity_counts_as_a_failure() -> None:
    runs = [make_run(level=1), make_open_run(0.8, 79.0, refused=1)]
    assert find(list_bars(make_comparison(runs=runs)), "open loop at 80 %").is_reached is False


def test_memory_that_grows_through_the_last_third_is_not_level() -> None:
    growing = [MemorySample(60.0 * minute, 100_000_000 * (minute + 1)) for minute in range(9)]
    assert find(list_bars(make_comparison(memory_samples=growing)), "memory, 2 workers, over").is_reached is False
