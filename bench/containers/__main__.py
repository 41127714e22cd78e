"""What containers cost beside the same programs outside: `python -m bench.containers`.

It needs a Docker engine with the images of `make images`, the base images, wrk, and, for the rebuild, a registry's
image. With `--json`, the figures go to `bench/results/containers-<date>.json`; parts that are left out with `--only`
are not in it then.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markdown import Markdown

from bench.containers.engine import DASHBOARD, GPU, SERVICE, docker, has_image, image_labels
from bench.containers.rates import Plan, measure_rates
from bench.containers.rebuild import measure_rebuild
from bench.containers.result import ContainerFigures, to_json
from bench.containers.section import render_tables
from bench.containers.sizes import measure_sizes
from bench.containers.starts import measure_starts
from bench.environment import describe_environment, write_result
from bench.models import prepare_models

PARTS = ("sizes", "ready", "throughput", "rebuild")
PACKAGES = ("bentoml", "openvino", "uvicorn")
_LABEL = "org.opencontainers.image"
_START_ROUNDS, _REBUILD_ROUNDS = 7, 5


def measure(
    parts: Sequence[str], *, command: str, is_quick: bool, with_stock: bool, keep_stock: bool
) -> ContainerFigures:
    """Measure the parts asked for.

    Raises:
        EngineError: The engine, or an image or a container of it, is not there.
        BuildError: An image could not be built.
    """
    plan = Plan(sessions=1, rounds=2, seconds=2, warm_seconds=2) if is_quick else Plan()
    starts, rebuilds = (2, 1) if is_quick else (_START_ROUNDS, _REBUILD_ROUNDS)
    environment = describe_environment(command, PACKAGES) | {"engine": _describe_engine(), "images": _describe_images()}
    return ContainerFigures(
        environment=environment,
        plan={"starts": starts, "rebuilds": rebuilds, **asdict(plan)},
        sizes=measure_sizes(with_stock=with_stock, keep_stock=keep_stock) if "sizes" in parts else [],
        starts=list(measure_starts(starts)) if "ready" in parts else [],
        rates=list(measure_rates(plan)) if "throughput" in parts else [],
        rebuild=measure_rebuild(rebuilds) if "rebuild" in parts else None,
    )


def _describe_engine() -> dict[str, str]:
    server, storage = docker("info", "--format", "{{.ServerVersion}}\n{{.Driver}}").splitlines()
    return {"server": server, "storage": storage}


def _describe_images() -> dict[str, dict[str, str]]:
    """Return version and commit that each image says it is of, and its id."""
    described = {}
    for image in filter(has_image, (SERVICE, DASHBOARD, GPU)):
        labels = image_labels(image)
        described[image] = {
            "id": docker("image", "inspect", "--format", "{{.Id}}", image),
            "version": labels.get(f"{_LABEL}.version", "unknown"),
            "commit": labels.get(f"{_LABEL}.revision", "unknown"),
        }
    return described


def main() -> None:
    """Print the tables, and write the figures where asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench.containers", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--stock", action="store_true", help="also build what stock BentoML makes (minutes, 10 GB)")
    parser.add_argument("--keep", action="store_true", help="keep the stock image for the next time")
    parser.add_argument("--json", action="store_true", help="write bench/results/containers-<date>.json")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    prepare_models()
    command = " ".join(
        ["python -m bench.containers", *(f"--{flag}" for flag in ("stock", "json") if getattr(arguments, flag))]
    )
    figures = measure(
        parts, command=command, is_quick=arguments.quick, with_stock=arguments.stock, keep_stock=arguments.keep
    )
    console = Console()
    console.print(Markdown(render_tables(figures)))
    if arguments.json:
        console.print(write_result("containers", to_json(figures)))


if __name__ == "__main__":
    main()
