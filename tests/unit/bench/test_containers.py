import json
from pathlib import Path

import pytest

from bench.bars import Bar
from bench.containers.builds import to_stock
from bench.containers.engine import DASHBOARD, SERVICE, list_made_images, new_layers_bytes
from bench.containers.rebuild import added_bytes, read_blobs
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


@pytest.mark.parametrize(
    ("measure", "found", "is_reached"),
    [
        ("service's image, without", "500 MB; 340 MB more with it", True),
        ("images/s, 16 connections: port published, asked at 127", "0.965", False),  # within a turn, not across
        ("images/s, 16 connections: in a container", "0.995", True),
        ("a line of code changed: build", "8.0 s; at worst 11.0", True),
        ("a line of code changed: bytes", "0.40 MB", True),
    ],
)
def test_a_bar_shows_what_was_found_and_whether_that_reaches_it(measure: str, found: str, is_reached: bool) -> None:
    bar = find(measure, make_figures())

    assert (bar.found, bar.is_reached) == (found, is_reached)


def test_what_was_left_out_is_said_to_be_not_measured() -> None:
    nothing = ContainerFigures(environment={**ENVIRONMENT, **ENGINE})

    assert {bar.verdict for bar in list_bars(nothing)} == {"not measured"}
    assert "\n\n" not in render_tables(nothing)


BUILD_OUTPUT = """\
Step 1/4 : FROM python:3.11-slim AS code
 ---> aaaaaaaaaaaa
Step 2/4 : COPY requirements.lock /build/
 ---> Using cache
 ---> bbbbbbbbbbbb
Step 3/4 : COPY src /app
 ---> cccccccccccc
Step 4/4 : RUN python -m compileall /app
 ---> Running in dddddddddddd
Removing intermediate container dddddddddddd
 ---> eeeeeeeeeeee
Successfully built eeeeeeeeeeee
"""


@pytest.mark.parametrize("level", ["", "INFO: "])
def test_only_the_images_that_a_build_made_itself_are_its_leftovers_newest_first(level: str) -> None:
    output = "".join(level + line for line in BUILD_OUTPUT.splitlines(keepends=True))

    assert list_made_images(output) == ["eeeeeeeeeeee", "cccccccccccc"]


def test_new_layers_are_the_topmost_instructions_that_have_a_size() -> None:
    assert new_layers_bytes([0, 0, 700, 0, 300, 90_000], 2) == 1_000


def make_manifest(*layers: tuple[str, int]) -> bytes:
    described = [{"digest": digest, "size": size} for digest, size in layers]
    return json.dumps({"config": {"digest": f"config of {layers}", "size": 10}, "layers": described}).encode()


def test_a_push_sends_what_the_registry_does_not_hold_and_its_manifest() -> None:
    before = make_manifest(("base", 1_000), ("code", 50))
    after = make_manifest(("base", 1_000), ("changed code", 60))

    assert added_bytes(read_blobs(before), read_blobs(after)) == 60 + 10 + len(after)


def test_a_stock_bento_differs_in_requirements_and_dockerfile_alone() -> None:
    docker = {"distro": "debian", "dockerfile_template": "./ours.j2"}
    ours = {"name": "lightbox", "models": ["m"], "python": {"requirements_txt": "./ours.txt"}, "docker": docker}

    assert to_stock(ours) == {
        "name": "lightbox-stock",
        "models": ["m"],
        "python": {"requirements_txt": "./requirements.stock.txt", "lock_packages": False},
        "docker": {"distro": "debian"},
    }
