"""How much of the in-process ceiling an evaluation reaches, in its own process and by the running service.

Run `python -m bench.evaluate`; with `--json`, the figures also go to `bench/results/evaluate-<date>.json`. In each
round `lightbox evaluate` runs over 2,000 different photographs, with `--local` and by a new service with its default
settings, between two runs of `bench.ceiling`, of which the better one counts. The pace is without loading the model.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from bench.environment import describe_environment, write_result
from bench.markdown import make_table
from bench.models import MODEL, prepare_models, store_environment
from bench.photographs import write_photographs
from bench.running import ROOT, running
from bench.servers import list_servers

PACKAGES = ("bentoml", "numpy", "openvino", "uvicorn")
PHOTOGRAPHS = 2000
_LABELS = ("crash helmet", "Egyptian cat", "espresso", "moped", "tick", "missile")
"""What the model says most often of the six photographs that the others are cut from, in their order."""
_CACHE = {"LIGHTBOX_CACHE_BYTES": "16000000"}
"""The default. The photographs are all different, so it answers only what an evaluation asks twice."""
_CELLS = {
    "run by": "{0.run_by}",
    "images/s": "{0.images_per_s:.0f}",
    "the ceiling": "{0.ceiling_per_s:.0f}",
    "share": "{0.share:.3f}",
    "accuracy": "{0.accuracy:.1%}",
}


@dataclass(frozen=True, slots=True)
class Pace:
    """Medians over the rounds; `share` is that of the ceiling in the same round."""

    run_by: str
    images_per_s: float
    ceiling_per_s: float
    share: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class _Round:
    ceiling_per_s: float
    paces_per_s: dict[str, float]
    accuracy: dict[str, float]


def _measure_round(labelled: Path, plain: Path, seconds: float) -> _Round:
    before = _measure_ceiling(plain, seconds)
    figures = {"this process": _evaluate(labelled, ["--local"])}
    # A new one for each round: its cache must not know the photographs.
    with tempfile.TemporaryDirectory() as name, running(list_servers()[0], Path(name), _CACHE) as service:
        figures["the service"] = _evaluate(labelled, ["--url", service.url])
    return _Round(
        max(before, _measure_ceiling(plain, seconds)),
        {name: one["speed"]["images_per_s"] for name, one in figures.items()},
        {name: one["accuracy"]["value"] for name, one in figures.items()},
    )


def _measure_ceiling(photographs: Path, seconds: float) -> float:
    printed = _run("bench.ceiling", photographs, photographs, "--seconds", seconds)
    return float(json.loads(printed)["images_per_s"])


def _evaluate(labelled: Path, options: Sequence[str]) -> dict[str, dict[str, float]]:
    printed = _run("bento_service.cli.app", "evaluate", MODEL, labelled, *options, "--json", "-")
    figures: dict[str, dict[str, float]] = json.loads(printed)["models"][0]["figures"]
    return figures


def _run(module: str, *arguments: object) -> str:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=store_environment(), capture_output=True, text=True, check=True)  # noqa: S603 - our own
    return done.stdout


def _summarise(rounds: Sequence[_Round], name: str) -> Pace:
    return Pace(
        name,
        statistics.median(one.paces_per_s[name] for one in rounds),
        statistics.median(one.ceiling_per_s for one in rounds),
        statistics.median(one.paces_per_s[name] / one.ceiling_per_s for one in rounds),
        rounds[0].accuracy[name],
    )


def _label(photographs: Sequence[Path], folder: Path) -> None:
    for number, path in enumerate(photographs):
        subfolder = folder / _LABELS[number % len(_LABELS)]
        subfolder.mkdir(parents=True, exist_ok=True)
        (subfolder / path.name).hardlink_to(path)


def main() -> None:
    """Print the table, and write it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="for each way of the ceiling")
    parser.add_argument("--photographs", type=int, default=PHOTOGRAPHS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    prepare_models()
    with tempfile.TemporaryDirectory() as name:
        plain, labelled = Path(name, "plain"), Path(name, "labelled")
        _label(write_photographs(plain, arguments.photographs), labelled)
        rounds = [_measure_round(labelled, plain, arguments.seconds) for _ in range(arguments.rounds)]
    paces = [_summarise(rounds, way) for way in rounds[0].paces_per_s]
    Console().print(make_table(_CELLS, paces))
    if arguments.json:
        result = describe_environment(" ".join(["python -m bench.evaluate", *sys.argv[1:]]), PACKAGES)
        settled = {"photographs": arguments.photographs, "rounds": [asdict(one) for one in rounds]}
        print(write_result("evaluate", {**result, **settled, "paces": [asdict(pace) for pace in paces]}))


if __name__ == "__main__":
    main()
