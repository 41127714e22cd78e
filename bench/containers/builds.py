"""`bentoml build` and `bentoml containerize` in a copy of the checkout, timed, and what they leave behind."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.containers.engine import discard_image, list_made_images
from bench.models import store_environment
from bench.running import ROOT

_BUILD_TIMEOUT_S = 300.0
_STOCK_TIMEOUT_S = 3600.0
STOCK_BENTO = "lightbox-stock"
_STOCK_BENTOFILE = "bentofile.stock.yaml"
_STOCK_REQUIREMENTS = "requirements.stock.txt"


class BuildError(Exception):
    """A build failed; the message is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Built:
    """A bento and its image. `made` are the images of its steps that were not there before, the newest first."""

    bento: str
    image: str
    build_s: float
    containerize_s: float
    made: Sequence[str]

    def discard(self) -> None:
        """Remove the image, what its build left, and the bento."""
        for image in (self.image, *self.made):
            discard_image(image)
        delete_bento(self.bento)


def copy_checkout(folder: Path) -> Path:
    """Copy every file that git tracks, as it is now, into a new folder, and return that."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)  # noqa: S607 - git
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def build_image(
    checkout: Path, image: str, bentofile: str = "bentofile.yaml", *, timeout_s: float = _BUILD_TIMEOUT_S
) -> Built:
    """Build a bento of a checkout and the image of it.

    Raises:
        BuildError: One of both failed.
    """
    begun_s = time.monotonic()
    said = _run(["bentoml", "build", "-f", bentofile, "--output", "tag"], checkout, timeout_s)
    built_s = time.monotonic()
    bento = said.partition("__tag__:")[2].split()[0]
    output = _run(["bentoml", "containerize", bento, "-t", image], checkout, timeout_s)
    done_s = time.monotonic()
    return Built(bento, image, built_s - begun_s, done_s - built_s, list_made_images(output))


def build_stock_image(checkout: Path, image: str) -> Built:
    """Build what BentoML makes of requirements.txt by itself: the same code and models, and its own Dockerfile.

    Raises:
        BuildError: It failed.
    """
    options = yaml.safe_load((checkout / "bentofile.yaml").read_text())
    (checkout / _STOCK_BENTOFILE).write_text(yaml.safe_dump(to_stock(options)))
    # A bento takes one file along, not those that it names.
    (checkout / _STOCK_REQUIREMENTS).write_text("\n".join(flatten_requirements(checkout / "requirements.txt")) + "\n")
    return build_image(checkout, image, _STOCK_BENTOFILE, timeout_s=_STOCK_TIMEOUT_S)


def delete_bento(tag: str) -> None:
    """Remove a bento; every version of it, if the tag names none.

    Raises:
        BuildError: BentoML could not.
    """
    _run(["bentoml", "delete", "--yes", tag], ROOT, _BUILD_TIMEOUT_S)


def to_stock(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bentofile's options without our Dockerfile, with every requirement that there is."""
    docker = {name: value for name, value in options["docker"].items() if name != "dockerfile_template"}
    python = {"requirements_txt": f"./{_STOCK_REQUIREMENTS}", "lock_packages": False}
    return {**options, "name": STOCK_BENTO, "docker": docker, "python": python}


def flatten_requirements(path: Path) -> list[str]:
    """Return a requirements file's lines, with those of the files that it names in their place."""
    lines = []
    for line in path.read_text().splitlines():
        if line.startswith("-r "):
            lines += flatten_requirements(path.parent / line.removeprefix("-r ").strip())
        elif line.strip() and not line.startswith("#"):
            lines.append(line)
    return lines


def _run(command: Sequence[str], folder: Path, timeout_s: float) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - BentoML on our own files
            [sys.executable, "-m", *command],
            cwd=folder,
            env={**store_environment(), "COLUMNS": "200"},
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{' '.join(command)}: not done within {timeout_s:g} s") from error
    if done.returncode:
        raise BuildError(f"{' '.join(command)}: {os.linesep.join(done.stdout.splitlines()[-15:])}")
    return done.stdout
