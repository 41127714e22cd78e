"""What `bench.containers` found, as its JSON in `results/` keeps it, and the figures that are read from it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

OUTSIDE, HOST_NETWORK = "outside", "in a container, host's network"
BY_ADDRESS, BY_LOOPBACK = "port published, asked at the host's address", "port published, asked at 127.0.0.1"
"""Docker's proxy copies what comes by loopback; the kernel translates the address of what comes by another."""
SIDES = (OUTSIDE, HOST_NETWORK, BY_ADDRESS, BY_LOOPBACK)
SERVICE_START, LITE0_START = "service, three models", "service, EfficientNet-Lite0 alone"
DASHBOARD_START = "dashboard"
STOCK = "stock `bentoml containerize` of requirements.txt"


@dataclass(frozen=True, slots=True)
class ImageSize:
    """An image, uncompressed; `base_bytes` of it are the base image's, 0 if it is not made on that."""

    name: str
    whole_bytes: int
    base_bytes: int

    @property
    def added_bytes(self) -> int:
        """What our own layers take."""
        return self.whole_bytes - self.base_bytes


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a container: seconds from `docker run` to the first answer that says it is ready."""

    name: str
    round: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Rate:
    """One load on one side. The loads of one turn follow each other, so they are what is compared."""

    side: str
    turn: int
    images_per_s: float
    p50_ms: float
    p99_ms: float
    refused: int
    failed: int


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Changes of one line of code: seconds of both commands for each, and what the last one sends to a registry.

    `new_layers_bytes` are uncompressed; what is pushed, and what was for the image before, is as it travels.
    """

    build_s: Sequence[float]
    containerize_s: Sequence[float]
    new_layers_bytes: int
    pushed_bytes: int
    first_push_bytes: int

    @property
    def seconds(self) -> list[float]:
        """What each change took from its first command to its image."""
        return [build + pack for build, pack in zip(self.build_s, self.containerize_s, strict=True)]


@dataclass(frozen=True)
class ContainerFigures:
    """One run of `bench.containers`. `environment` is as `bench.environment` describes it, with the engine's."""

    environment: Mapping[str, Any]
    plan: Mapping[str, Any] = field(default_factory=dict)
    sizes: Sequence[ImageSize] = ()
    starts: Sequence[Start] = ()
    rates: Sequence[Rate] = ()
    rebuild: Rebuild | None = None

    def size(self, name: str) -> ImageSize | None:
        """Return an image's size; None if it was not measured."""
        return next((size for size in self.sizes if size.name == name), None)

    def start_seconds(self, name: str) -> list[float]:
        """Return what each start of a container took."""
        return [start.seconds for start in self.starts if start.name == name]

    def images_per_s(self, side: str) -> float | None:
        """Return the median rate of a side; None if it was not measured."""
        rates = [rate.images_per_s for rate in self.rates if rate.side == side]
        return statistics.median(rates) if rates else None

    def ratios(self, side: str) -> list[float]:
        """Return a side's rate over that outside, for each turn in which both were loaded."""
        outside = {rate.turn: rate.images_per_s for rate in self.rates if rate.side == OUTSIDE}
        return [rate.images_per_s / outside[rate.turn] for rate in self.rates if rate.side == side]


_FIGURES = TypeAdapter(ContainerFigures)


def read_figures(path: Path) -> ContainerFigures:
    """Read a result; a ValueError says what is wrong with it."""
    return _FIGURES.validate_json(path.read_bytes())


def to_json(figures: ContainerFigures) -> Mapping[str, Any]:
    """Return a result as `write_result` takes it."""
    described: Mapping[str, Any] = _FIGURES.dump_python(figures, mode="json")
    return described
