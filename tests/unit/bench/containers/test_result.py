import json
from pathlib import Path

import pytest

from bench.bars import Bar
from bench.containers.engine import DASHBOARD, SERVICE
from bench.containers.result import (
    BY_LOOPBACK,
    HOST_NETWORK,
    OUTSIDE,
    SERVICE_START,
    STOCK,
    ContainerFigures,
    ImageSize,
    Rate,
    Rebuild,
    Start,
    read_figures,
    to_json,
)
from bench.containers.section import list_bars, render_tables
from tests.unit.bench.comparisons import ENVIRONMENT

ENGINE = {"engine": {"server": "20.10", "storage": "overlay2"}}


def make_rate(side: str, turn: int, images_per_s: float) -> Rate:
    return Rate(side, turn, images_per_s, p50_ms=60.0, p99_ms=90.0, refused=0, failed=0)


def make_figures() -> ContainerFigures:
    rates = [(OUTSIDE, 0, 100.0), (BY_LOOPBACK, 0, 98.0), (HOST_NETWORK, 0, 99.0)]
    rates += [(BY_LOOPBACK, 1, 190.0), (OUTSIDE, 1, 200.0), (HOST_NETWORK, 1, 200.0)]
    return ContainerFigures(
        environment={**ENVIRONMENT, **ENGINE},
        sizes=[
            ImageSize(SERVICE, 840_000_000, 340_000_000),
            ImageSize(DASHBOARD, 680_000_000, 340_000_000),
            ImageSize(STOCK, 7_340_000_000, 340_000_000),
        ],
        starts=[Start(SERVICE_START, number, seconds) for number, seconds in enumerate((5.0, 7.5, 5.5))],
        rates=[make_rate(*rate) for rate in rates],
        rebuild=Rebuild([4.0, 5.0, 4.5], [3.0, 6.0, 3.5], 1_200_000, 400_000, 290_000_000),
    )


def find(beginning: str, figures: ContainerFigures) -> Bar:
    return next(bar for bar in list_bars(figures) if bar.measure.startswith(beginning))


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "containers.json"
    path.write_text(json.dumps(to_json(make_figures())))

    assert to_json(read_figures(path)) == to_json(make_figures())


def test_an_image_is_held_to_what_it_adds_to_its_base_and_both_figures_are_named() -> None:
    bar = find("service's image, without", make_figures())

    assert (bar.found, bar.is_reached) == ("500 MB; 340 MB more with it", True)


def test_rates_are_compared_within_a_turn_and_not_across() -> None:
    assert make_figures().ratios(BY_LOOPBACK) == pytest.approx([0.98, 0.95])
    assert find("images/s, 16 connections: port published, asked at 127", make_figures()).found == "0.965"
    assert find("images/s, 16 connections: port published, asked at 127", make_figures()).is_reached is False
    assert find("images/s, 16 connections: in a container", make_figures()).is_reached is True


def test_a_change_takes_as_long_as_both_commands_after_each_other() -> None:
    assert find("a line of code changed: build", make_figures()).found == "8.0 s; at worst 11.0"
    assert find("a line of code changed: bytes", make_figures()).found == "0.40 MB"


def test_what_was_left_out_is_said_to_be_not_measured() -> None:
    nothing = ContainerFigures(environment={**ENVIRONMENT, **ENGINE})

    assert {bar.verdict for bar in list_bars(nothing)} == {"not measured"}
    assert "\n\n" not in render_tables(nothing)
