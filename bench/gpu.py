"""A GPU: the engine beside a bare loop over the same model, then the service beside its peers over HTTP.

Run `python -m bench.gpu`; with `--json`, the figures also go to `bench/results/gpu-<date>.json`. Needs a CUDA GPU, and
ends with code 2 where there is none. The HTTP part needs wrk, and for its row LitServe (`pip install litserve`) beside
Lightbox. All is measured in turn in each round; the medians count. With `--engine-only`, no server is started.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from bench.environment import describe_environment, write_result
from bench.gpu_engine import EngineFigure, measure_engine
from bench.gpu_peers.servers import ServerFigure, measure_servers
from bench.models import MODEL, prepare_models
from bento_service.engines.devices import describe_cuda, has_cuda

PACKAGES = ("bentoml", "torch", "uvicorn", "pillow", "simplejpeg")
_NO_GPU = 2


def main() -> None:
    """Print the tables, and write them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--engine-only", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not has_cuda():
        print("There is no CUDA GPU here, or PyTorch cannot use it; nothing was measured.", file=sys.stderr)
        sys.exit(_NO_GPU)
    console = Console()
    model = prepare_models()
    precision, engine = measure_engine(model, arguments.rounds, min(arguments.seconds, 2.0))
    console.print(_engine_table(precision, engine))
    servers = [] if arguments.engine_only else measure_servers(model, arguments.rounds, arguments.seconds)
    if servers:
        console.print(_server_table(servers))
    if arguments.json:
        result = {
            **describe_environment("python -m bench.gpu --json", PACKAGES),
            "gpu": asdict(describe_cuda()),
            "model": MODEL,
            "precision": precision,
            "rounds": arguments.rounds,
            "seconds": arguments.seconds,
            "engine": [{**asdict(figure), "of_bare": figure.of_bare} for figure in engine],
            "servers": [asdict(figure) for figure in servers],
        }
        print(write_result("gpu", result))


def _engine_table(precision: str, figures: Sequence[EngineFigure]) -> Table:
    table = Table("batch", "engine, images/s", "bare loop, images/s", "of the bare loop", title=f"{MODEL}, {precision}")
    for figure in figures:
        table.add_row(str(figure.batch_size), f"{figure.engine:.0f}", f"{figure.bare:.0f}", f"{figure.of_bare:.2f}")
    return table


def _server_table(figures: Sequence[ServerFigure]) -> Table:
    table = Table("server", "workers", "connections", "images/s", "p50, ms", "p99, ms", "failed")
    for figure in figures:
        if figure.images_per_s is None:
            table.add_row(figure.server, str(figure.workers), "", figure.problem)
            continue
        table.add_row(
            figure.server,
            str(figure.workers),
            str(figure.connections),
            f"{figure.images_per_s:.0f}",
            f"{figure.p50_ms:.1f}",
            f"{figure.p99_ms:.1f}",
            str(figure.failed),
        )
    return table


if __name__ == "__main__":
    main()
