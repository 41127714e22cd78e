"""The images that `lightbox bench` sends: the caller's, or the dashboard's samples."""

import importlib.util
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bento_service.commands.failures import CommandError, ExitCode
from bento_service.commands.inputs import find_images
from lightbox_client import Client
from lightbox_client.errors import InvalidImageError

MAX_IMAGES = 1000
MAX_BYTES = 256_000_000
"""They are held in memory, so that no disk is measured."""
CHECK_S = 5.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BenchImage:
    """An encoded image and the path that it came from."""

    path: Path
    encoded: bytes


def choose_images(arguments: Sequence[str], seed: int, say: Say) -> list[BenchImage]:
    """Read the images that the arguments mean, or the samples if there is none; of many, a draw by `seed`.

    Raises:
        CommandError: There is no image, or one cannot be read.
    """
    found = find_images(arguments or [str(_sample_folder())])
    for problem in found.problems:
        say(problem)
    if not found.paths:
        raise CommandError("there is no image to send", ExitCode.BAD_INPUT)
    if not arguments:
        say("No images were named, so the dashboard's samples are sent; your own give a truer figure.")
    paths = list(found.paths)
    random.Random(seed).shuffle(paths)  # noqa: S311 - a draw, no secret
    images: list[BenchImage] = []
    size_bytes = 0
    for path in paths[:MAX_IMAGES]:
        image = BenchImage(path, _read(path))
        size_bytes += len(image.encoded)
        if images and size_bytes > MAX_BYTES:
            break
        images.append(image)
    if len(images) < len(paths):
        say(f"{len(images)} of {len(paths)} images are sent, drawn with seed {seed}.")
    return images


def leave_out_refused(images: Sequence[BenchImage], client: Client, model: str | None, say: Say) -> list[BenchImage]:
    """Ask the service for each image once, for a few seconds at most, and leave out what it cannot read.

    Raises:
        CommandError: Nothing is left.
        LightboxClientError: The service refused for another reason.
    """
    kept: list[BenchImage] = []
    end_s = time.monotonic() + CHECK_S
    for number, image in enumerate(images):
        if time.monotonic() > end_s:
            kept += images[number:]
            break
        try:
            client.classify(image.encoded, model=model, top_k=1)
        except InvalidImageError as error:
            say(f"{image.path} is left out: {error}")
        else:
            kept.append(image)
    if not kept:
        raise CommandError("the service can read none of the images", ExitCode.BAD_INPUT)
    return kept


def _sample_folder() -> Path:
    spec = importlib.util.find_spec("dashboard")
    if spec is None or not spec.submodule_search_locations:
        raise CommandError("name images to send; the dashboard with its samples is not installed", ExitCode.BAD_INPUT)
    return Path(spec.submodule_search_locations[0]) / "samples"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}", ExitCode.BAD_INPUT) from error
