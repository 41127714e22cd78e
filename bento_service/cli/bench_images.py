"""The images that `lightbox bench` sends: the caller's, or the dashboard's samples."""

import importlib.util
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bento_service.cli.errors import CommandError, ExitCode
from bento_service.cli.file_names import to_line
from bento_service.cli.image_files import find_images
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


@dataclass(frozen=True, slots=True)
class ChosenImages:
    """The images to send, and how many inputs could not be read."""

    images: tuple[BenchImage, ...]
    unread: int


def choose_images(arguments: Sequence[str], seed: int, say: Say) -> ChosenImages:
    """Read the images that the arguments mean, or the samples if there is none; of many, a draw by `seed`.

    Raises:
        CommandError: There is no image that can be read.
    """
    found = find_images(arguments or [str(_sample_folder())])
    for problem in found.problems:
        say(problem)
    if not arguments:
        say("No images were named, so the dashboard's samples are sent; your own give a truer figure.")
    paths = list(found.paths)
    random.Random(seed).shuffle(paths)  # noqa: S311 - a draw, no secret
    images: list[BenchImage] = []
    size_bytes = unread = 0
    for path in paths[:MAX_IMAGES]:
        try:
            image = BenchImage(path, path.read_bytes())
        except OSError as error:
            say(f"{to_line(path)} is left out: {error.strerror}")
            unread += 1
            continue
        size_bytes += len(image.encoded)
        if images and size_bytes > MAX_BYTES:
            break
        images.append(image)
    if not images:
        raise CommandError("there is no image to send", ExitCode.BAD_INPUT)
    if len(images) + unread < len(paths):
        say(f"{len(images)} of {len(paths)} images are sent, drawn with seed {seed}.")
    return ChosenImages(tuple(images), unread + len(found.problems))


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
            say(f"{to_line(image.path)} is left out: {error}")
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
