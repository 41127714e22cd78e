"""`lightbox bench`: measures what a running service can do with the caller's images, and what limits it."""

import random
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

from bento_service.cli.errors import CommandError, ExitCode
from bento_service.cli.image_files import find_images
from bento_service.cli.output import plain_console, require_writable
from bento_service.domain.file_names import to_line, to_text
from bento_service.load_test.address import Address, resolve
from bento_service.load_test.generator import LoadOptions, run_closed, run_open
from bento_service.load_test.page import write_page
from bento_service.load_test.report import BenchReport, Subject, describe_run_line, to_json, write_text
from bento_service.load_test.survey import ServiceCapacity, SurveyPlan, survey
from lightbox_client import Client
from lightbox_client.contract import ModelCard, Status
from lightbox_client.errors import InvalidImageError

READY = "ready"
MIN_TIMEOUT_S = 10.0
MAX_IMAGES = 1000
MAX_BYTES = 256_000_000
"""Images are held in memory, so that no disk is measured."""
CHECK_S = 5.0
"""Longest that images are tried out before the load; the rest is taken as it is."""


def _parse_rates(text: str | None) -> tuple[float, ...]:
    """Parse `50,100,200`; raises `CommandError` for anything else."""
    if text is None:
        return ()
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(0 < rate < float("inf") for rate in rates):
        message = f"--rates is {text!r}; it takes images/s above 0, separated by commas, such as 50,100,200"
        raise CommandError(message, ExitCode.BAD_INPUT)
    return rates


def bench(
    *,
    images: Sequence[str],
    url: str,
    model: str | None,
    target_ms: float | None,
    duration_s: float,
    rates: str | None,
    seed: int,
    uses_cache: bool,
    is_remote_allowed: bool,
    json_path: Path | None,
    html_path: Path | None,
) -> None:
    """Measure, and write the report to stdout and to the files.

    A `target_ms` of None is the service's own; no `rates` means a search.

    Raises:
        CommandError: There is nothing to send, nowhere to write, or the service is not ready; or, once the report is
            written, some input could not be read.
        LightboxClientError: The service cannot be reached, or refused.
    """
    rates_per_s = _parse_rates(rates)
    files = {path: render for path, render in ((json_path, to_json), (html_path, write_page)) if path is not None}
    require_writable(files)
    address = resolve(url)
    require_nearby(address, is_remote_allowed=is_remote_allowed)
    encoded_by_path, unread = _read_images(images, seed)
    begun_at = datetime.now(UTC).isoformat(timespec="seconds")
    with Client(url) as client:
        status, card = _ask(client, model)
        _drop_unreadable(encoded_by_path, client, model)
        device = card.device or status.device
        lanes = f"{status.lanes} lanes, {status.decode_threads} decode threads"
        subject = Subject(
            url=url,
            model=card.name,
            model_version=card.version,
            service={
                "service": f"Lightbox {client.version().lightbox}, {status.workers} workers",
                "engine": f"{card.engine} {card.precision}, {lanes}",
                "device": f"{device.name}, {device.cores} cores" if device else "unknown",
                "cache": "in use" if uses_cache else "not in use: each image was sent with bytes of its own",
            },
            image_names=tuple(to_text(path.name) for path in encoded_by_path),
            image_bytes_median=int(statistics.median(map(len, encoded_by_path.values()))),
            is_loopback=address.is_loopback,
        )
    chosen_ms = target_ms or status.target_p99_ms
    capacity = ServiceCapacity(status.decode_threads * status.workers, status.lanes * status.workers)
    query = f"?model={quote(model, safe='')}" if model else ""
    load = LoadOptions(
        timeout_s=max(MIN_TIMEOUT_S, 2 * chosen_ms / 1000), reads_answers=True, makes_unique=not uses_cache
    )
    target = f"{url.rstrip('/')}/v1/classify{query}", list(encoded_by_path.values())
    try:
        found = survey(
            SurveyPlan(chosen_ms, duration_s, capacity, rates_per_s),
            run_closed=partial(run_closed, *target, options=load),
            run_open=partial(run_open, *target, seed=seed, options=load),
            on_run=lambda run: _say(describe_run_line(run)),
        )
    except KeyboardInterrupt as error:
        raise CommandError("interrupted before anything was measured") from error
    report = BenchReport(
        begun_at=begun_at,
        command=to_text(shlex.join(["lightbox", *sys.argv[1:]])),
        subject=subject,
        target_ms=chosen_ms,
        target_source="as asked for" if target_ms else "the service's own",
        seed=seed,
        survey=found,
    )
    write_text(report, plain_console(sys.stdout))
    for path, render in files.items():
        try:
            path.write_text(render(report), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
    if unread:
        raise CommandError(f"{unread} inputs could not be read; the figures are of the others", ExitCode.BAD_INPUT)


def require_nearby(address: Address, *, is_remote_allowed: bool) -> None:
    """Refuse to load a server on the internet unless that is allowed.

    Raises:
        CommandError: It is neither this machine nor in a private network.
    """
    if address.is_nearby or is_remote_allowed:
        return
    message = (
        f"{address.hostname} ({address.ip}) is neither this machine nor in a private network, and this sends it as "
        "many requests as it can take; add --yes-remote if it is yours to load"
    )
    raise CommandError(message, ExitCode.BAD_INPUT)


def _read_images(arguments: Sequence[str], seed: int) -> tuple[dict[Path, bytes], int]:
    """Return the encoded images that the arguments name, or the dashboard's samples, and how many cannot be read.

    Of more images than fit, a random draw by `seed`.

    Raises:
        CommandError: No image can be read.
    """
    found = find_images(arguments or [str(_sample_folder())])
    for problem in found.problems:
        _say(problem)
    if not arguments:
        _say("No images were named, so the dashboard's samples are sent; your own give a truer figure.")
    paths = list(found.paths)
    random.Random(seed).shuffle(paths)  # noqa: S311 - a draw, no secret
    images: dict[Path, bytes] = {}
    size_bytes = unread = 0
    for path in paths[:MAX_IMAGES]:
        try:
            encoded = path.read_bytes()
        except OSError as error:
            _say(f"{to_line(path)} is left out: {error.strerror}")
            unread += 1
            continue
        size_bytes += len(encoded)
        if images and size_bytes > MAX_BYTES:
            break
        images[path] = encoded
    if not images:
        raise CommandError("there is no image to send", ExitCode.BAD_INPUT)
    if len(images) + unread < len(paths):
        _say(f"{len(images)} of {len(paths)} images are sent, drawn with seed {seed}.")
    return images, unread + len(found.problems)


def _drop_unreadable(images: dict[Path, bytes], client: Client, model: str | None) -> None:
    """Classify each image once, for `CHECK_S` at most, and drop those that the service cannot read.

    Raises:
        CommandError: Nothing is left.
        LightboxClientError: The service refused for another reason.
    """
    end_s = time.monotonic() + CHECK_S
    for path, encoded in tuple(images.items()):
        if time.monotonic() > end_s:
            break
        try:
            client.classify(encoded, model=model, top_k=1)
        except InvalidImageError as error:
            _say(f"{to_line(path)} is left out: {error}")
            del images[path]
    if not images:
        raise CommandError("the service can read none of the images", ExitCode.BAD_INPUT)


def _sample_folder() -> Path:
    folder = Path(__file__).parents[2] / "dashboard" / "samples"
    if not folder.is_dir():
        raise CommandError("name images to send; the dashboard with its samples is not installed", ExitCode.BAD_INPUT)
    return folder


def _ask(client: Client, model: str | None) -> tuple[Status, ModelCard]:
    status = client.status()
    if status.state != READY:
        url = client.base_url
        raise CommandError(f"{url} is {status.state}; try again once {url}/readyz answers 200")
    if model is not None:
        return status, client.model(model)
    return status, next(card for card in client.models().models if card.is_default)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
