"""`lightbox bench`: what a running service can do with the caller's images, and what limits it."""

import os
import shlex
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from rich.console import Console

from bento_service.cli.bench_images import BenchImage, choose_images, leave_out_refused
from bento_service.cli.errors import CommandError, ExitCode
from bento_service.cli.file_names import to_text
from bento_service.cli.tables import UNFOLDED_WIDTH
from bento_service.load_test.address import Address, resolve
from bento_service.load_test.bottleneck import Stations
from bento_service.load_test.generator import run_closed, run_open
from bento_service.load_test.page import write_page
from bento_service.load_test.payloads import LoadOptions
from bento_service.load_test.report import BenchReport, Subject, to_json
from bento_service.load_test.result import LoadResult
from bento_service.load_test.survey import NothingMeasuredError, SurveyPlan, survey
from bento_service.load_test.text_report import describe_run_line, write_text
from lightbox_client import Client
from lightbox_client.contract import ModelCard, Status

READY = "ready"
MIN_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What was typed. `target_ms` is the service's own if None; `rates_per_s` empty means a search."""

    images: tuple[str, ...]
    url: str
    model: str | None
    target_ms: float | None
    duration_s: float
    rates_per_s: tuple[float, ...]
    seed: int
    uses_cache: bool
    is_remote_allowed: bool
    json_path: Path | None
    html_path: Path | None


def parse_rates(text: str | None) -> tuple[float, ...]:
    """Read `50,100,200`.

    Raises:
        CommandError: Something else was typed.
    """
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


def bench(options: BenchOptions) -> None:
    """Measure, and write the report to stdout and to the files that were asked for.

    Raises:
        CommandError: There is nothing to send, nowhere to write, or the service is not there for it; or, once all is
            written, some input could not be read.
        LightboxClientError: The service cannot be reached, or refused.
    """
    _demand_writable(options)
    address = resolve(options.url)
    require_nearby(address, is_remote_allowed=options.is_remote_allowed)
    chosen = choose_images(options.images, options.seed, _say)
    begun_at = datetime.now(UTC).isoformat(timespec="seconds")
    with Client(options.url) as client:
        status, card = _ask(client, options)
        images = leave_out_refused(chosen.images, client, options.model, _say)
        subject = _describe(client, options, address=address, status=status, card=card, images=images)
    target_ms = options.target_ms or status.target_p99_ms
    plan = SurveyPlan(
        target_ms=target_ms,
        duration_s=options.duration_s,
        stations=Stations(status.decode_threads * status.workers, status.lanes * status.workers),
        rates_per_s=options.rates_per_s,
    )
    generator = _Generator(options, images, target_ms)
    try:
        found = survey(generator, plan, on_run=lambda run: _say(describe_run_line(run)))
    except NothingMeasuredError as error:
        raise CommandError("interrupted before anything was measured") from error
    report = BenchReport(
        begun_at=begun_at,
        command=to_text(shlex.join(["lightbox", *sys.argv[1:]])),
        subject=subject,
        target_ms=target_ms,
        target_source="as asked for" if options.target_ms else "the service's own",
        seed=options.seed,
        survey=found,
    )
    _write(options, report)
    if chosen.unread:
        raise CommandError(
            f"{chosen.unread} inputs could not be read; the figures are of the others", ExitCode.BAD_INPUT
        )


class _Generator:
    """Sends the images to the service."""

    def __init__(self, options: BenchOptions, images: list[BenchImage], target_ms: float) -> None:
        query = f"?model={quote(options.model, safe='')}" if options.model else ""
        self._url = f"{options.url.rstrip('/')}/v1/classify{query}"
        self._bodies = [image.encoded for image in images]
        self._seed = options.seed
        self._options = LoadOptions(
            timeout_s=max(MIN_TIMEOUT_S, 2 * target_ms / 1000),
            reads_answers=True,
            makes_unique=not options.uses_cache,
        )

    def run_closed(self, connections: int, duration_s: float) -> LoadResult:
        return run_closed(self._url, self._bodies, connections, duration_s, options=self._options)

    def run_open(self, rate_per_s: float, duration_s: float) -> LoadResult:
        return run_open(self._url, self._bodies, rate_per_s, duration_s, seed=self._seed, options=self._options)


def require_nearby(address: Address, *, is_remote_allowed: bool) -> None:
    """Refuse to load somebody else's server by a slip of the URL.

    Raises:
        CommandError: It is neither this machine nor in a private network, and that was not said to be right.
    """
    if address.is_nearby or is_remote_allowed:
        return
    message = (
        f"{address.hostname} ({address.ip}) is neither this machine nor in a private network, and this sends it as "
        "many requests as it can take; add --yes-remote if it is yours to load"
    )
    raise CommandError(message, ExitCode.BAD_INPUT)


def _demand_writable(options: BenchOptions) -> None:
    """Find out before the measurement whether its files can be written; leaves none behind."""
    for path in (options.json_path, options.html_path):
        if path is None:
            continue
        is_new = not os.path.lexists(path)
        try:
            path.open("a").close()
            if is_new:
                path.unlink()
        except OSError as error:
            is_missing = isinstance(error, FileNotFoundError)
            reason = f"there is no folder {path.parent}; make it or name another" if is_missing else error.strerror
            raise CommandError(f"cannot write {path}: {reason}", ExitCode.BAD_INPUT) from error


def _ask(client: Client, options: BenchOptions) -> tuple[Status, ModelCard]:
    status = client.status()
    if status.state != READY:
        raise CommandError(f"{options.url} is {status.state}; try again once {options.url}/readyz answers 200")
    if options.model is not None:
        return status, client.model(options.model)
    return status, next(card for card in client.models().models if card.is_default)


def _describe(
    client: Client,
    options: BenchOptions,
    *,
    address: Address,
    status: Status,
    card: ModelCard,
    images: list[BenchImage],
) -> Subject:
    device = f"{status.device.name}, {status.device.cores} cores" if status.device else "unknown"
    return Subject(
        url=options.url,
        model=card.name,
        model_version=card.version,
        service={
            "service": f"Lightbox {client.version().lightbox}, {status.workers} workers",
            "engine": f"{card.engine} {card.precision}, {status.lanes} lanes, {status.decode_threads} decode threads",
            "device": device,
            "cache": "in use" if options.uses_cache else "not in use: each image was sent with bytes of its own",
        },
        image_names=tuple(to_text(image.path.name) for image in images),
        image_bytes_median=int(statistics.median(len(image.encoded) for image in images)),
        is_loopback=address.is_loopback,
    )


def _write(options: BenchOptions, report: BenchReport) -> None:
    width = None if sys.stdout.isatty() else UNFOLDED_WIDTH
    write_text(report, Console(file=sys.stdout, width=width, highlight=False, emoji=False, markup=False))
    renderings: list[tuple[Path | None, Callable[[BenchReport], str]]] = [
        (options.json_path, to_json),
        (options.html_path, write_page),
    ]
    for path, render in renderings:
        if path is None:
            continue
        try:
            path.write_text(render(report), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror or error}") from error


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
