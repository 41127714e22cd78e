"""What an explanation costs beside a classification, and whether its map points at the object.

Run `python -m bench.explain`; with `--json`, the figures also go to `bench/results/explain-<date>.json`. It needs wrk
and prepared models. One service without a cache is asked for classifications and for explanations in turns, over one
connection and over 16; the ratio of each round counts. Then the pointing game (Zhang et al., Top-down Neural Attention
by Excitation Backprop, 2018): how often the strongest place of the map lies on the object that was pasted into a
photograph.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from bench.bodies import photograph_folders
from bench.closed_loop import ClosedLoad, run_closed_loop
from bench.composites import Composite, make_composites
from bench.environment import describe_environment, write_result
from bench.markdown import make_table
from bench.models import prepare_models
from bench.records import SMALL
from bench.running import running
from bench.servers import list_servers
from lightbox_client import Client
from lightbox_client.contract import ExplanationMethod

PACKAGES = ("bentoml", "numpy", "openvino", "uvicorn")
CONNECTIONS = (1, 16)
COMPOSITES = 50
METHODS: tuple[ExplanationMethod, ...] = ("cam", "occlusion")
_WARM_UP_S = 5
_LOAD_CELLS = {
    "connections": "{0.connections}",
    "classify, ms": "{0.classify_ms:.2f}",
    "explain, ms": "{0.explain_ms:.2f}",
    "ratio": "{0.ratio:.3f}",
    "classify, images/s": "{0.classify_per_s:.1f}",
    "explain, images/s": "{0.explain_per_s:.1f}",
    "failed": "{0.failed}",
}
_GAME_CELLS = {
    "method": "{0.method}",
    "maps": "{0.maps}",
    "strongest place on the object": "{0.share:.0%}",
    "missed": "{0.missed_names}",
    "ms a map": "{0.median_ms:.1f}",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over the rounds; `ratio` is that of the mean times of a request in the same round."""

    connections: int
    classify_ms: float
    explain_ms: float
    classify_per_s: float
    explain_per_s: float
    ratio: float
    failed: int


@dataclass(frozen=True, slots=True)
class Game:
    """One pointing game. `missed` has the object of each map that points elsewhere; `median_ms` is the service's."""

    method: str
    maps: int
    share: float
    missed: tuple[str, ...]
    median_ms: float

    @property
    def missed_names(self) -> str:
        """The objects, for a table."""
        return ", ".join(self.missed) or "none"


def measure_cost(url: str, photographs: Path, connections: int, rounds: int, duration_s: int) -> Cost:
    """Load a service with classifications and explanations of the same photographs, in turns."""

    def load(path: str, seconds: int) -> ClosedLoad:
        return run_closed_loop(f"{url}{path}", photographs, {}, connections=connections, duration_s=seconds)

    pairs: list[tuple[ClosedLoad, ClosedLoad]] = []
    for path in ("/v1/classify", "/v1/explain"):
        load(path, _WARM_UP_S)
    for number in range(rounds):
        # The order alternates, so that a machine that slows down favours neither.
        if number % 2:
            later = load("/v1/explain", duration_s)
            pairs.append((load("/v1/classify", duration_s), later))
        else:
            pairs.append((load("/v1/classify", duration_s), load("/v1/explain", duration_s)))
    return Cost(
        connections,
        classify_ms=statistics.median(classify.p50_ms for classify, _ in pairs),
        explain_ms=statistics.median(explain.p50_ms for _, explain in pairs),
        classify_per_s=statistics.median(classify.images_per_s for classify, _ in pairs),
        explain_per_s=statistics.median(explain.images_per_s for _, explain in pairs),
        ratio=statistics.median(classify.images_per_s / explain.images_per_s for classify, explain in pairs),
        failed=sum(one.failed + one.refused for pair in pairs for one in pair),
    )


def play(client: Client, composites: Sequence[Composite], method: ExplanationMethod) -> Game:
    """Ask where each object is; the middle of the strongest cell must lie on it."""
    missed: list[str] = []
    times_ms: list[float] = []
    for composite in composites:
        explanation = client.explain(composite.encoded, class_id=composite.class_id, method=method)
        cell = explanation.strongest
        x, y = cell.left + cell.width / 2, cell.top + cell.height / 2
        left, top, right, bottom = composite.rectangle
        if not (left <= x < right and top <= y < bottom):
            missed.append(composite.name)
        times_ms.append(explanation.timings_ms.total)
    share = 1 - len(missed) / len(composites)
    return Game(method, len(composites), share, tuple(missed), statistics.median(times_ms))


def main() -> None:
    """Print both tables, and write them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--game-only", action="store_true", help="leave the load out")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    console = Console()
    prepare_models()
    composites = list(make_composites(COMPOSITES))
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory() as name, running(list_servers()[0], Path(name), {}) as service:
        if not arguments.game_only:
            photographs = photograph_folders()[SMALL]
            costs = [
                measure_cost(service.url, photographs, connections, arguments.rounds, arguments.seconds)
                for connections in CONNECTIONS
            ]
            console.print(make_table(_LOAD_CELLS, costs))
        with Client(service.url) as client:
            games = [play(client, composites, method) for method in METHODS]
    console.print(make_table(_GAME_CELLS, games))
    if arguments.json:
        result = describe_environment("python -m bench.explain --json", PACKAGES)
        settled = {"rounds": arguments.rounds, "seconds": arguments.seconds}
        figures = {"cost": [asdict(cost) for cost in costs], "pointing_game": [asdict(game) for game in games]}
        print(write_result("explain", {**result, **settled, **figures}))


if __name__ == "__main__":
    main()
