"""A GPU: the engine beside a bare loop over the same model, then the service beside its peers over HTTP.

Run `python -m bench.gpu`; with `--json`, the figures also go to `bench/results/gpu-<date>.json`. Needs a CUDA GPU, and
ends with code 2 where there is none. The HTTP part needs wrk, and for its row LitServe (`pip install litserve`) beside
Lightbox. All is measured in turn in each round; the medians count. With `--engine-only`, no server is started.
"""

import argparse
import sys
from dataclasses import asdict

from rich.console import Console

from bench.environment import describe_environment, write_result
from bench.gpu_engine import measure_engine
from bench.gpu_peers.servers import measure_servers
from bench.markdown import make_table
from bench.models import MODEL, prepare_models
from bento_service.engines.devices import describe_cuda, has_cuda

PACKAGES = ("bentoml", "torch", "uvicorn", "pillow", "simplejpeg")
_NO_GPU = 2
_ENGINE_CELLS = {
    "batch": "{0.batch_size}",
    "engine, images/s": "{0.engine:.0f}",
    "bare loop, images/s": "{0.bare:.0f}",
    "of the bare loop": "{0.of_bare:.2f}",
}
_SERVER_CELLS = {
    "server": "{0.server}",
    "workers": "{0.workers}",
    "connections": "{0.connections}",
    "images/s": "{0.images_per_s:.0f}",
    "p50, ms": "{0.p50_ms:.1f}",
    "p99, ms": "{0.p99_ms:.1f}",
    "failed": "{0.failed}",
}


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
    model = prepare_models(with_program=True)
    precision, engine = measure_engine(model, arguments.rounds, min(arguments.seconds, 2.0))
    console.print(make_table(_ENGINE_CELLS, engine, f"{MODEL}, {precision}"))
    servers = [] if arguments.engine_only else measure_servers(model, arguments.rounds, arguments.seconds)
    if servers:
        console.print(make_table(_SERVER_CELLS, (one for one in servers if not one.problem)))
    for one in servers:
        if one.problem:
            console.print(f"{one.server}, {one.workers} workers: {one.problem}")
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


if __name__ == "__main__":
    main()
