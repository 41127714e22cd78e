"""Evaluates models on a folder of labelled photographs, and writes the report."""

import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import uvloop
from rich.progress import Progress

from bento_service.cli.classification import classify_in_order
from bento_service.cli.classify import explained_writes
from bento_service.cli.errors import CommandError, ExitCode
from bento_service.cli.evaluation.scoring import Subject, find_served, find_stored
from bento_service.cli.evaluation.text import write_text
from bento_service.cli.output import open_progress, plain_console, require_writable, stderr_console
from bento_service.domain.file_names import to_line, to_text
from bento_service.evaluation.comparison import compare
from bento_service.evaluation.folders import (
    LabelledFolder,
    Photograph,
    draw_sample,
    find_photographs,
    read_names,
)
from bento_service.evaluation.page import write_page
from bento_service.evaluation.report import EvaluatedModel, EvaluationReport, give_verdict, to_json
from bento_service.evaluation.tally import Tally
from lightbox_client import Client
from lightbox_client.proxies import without_credentials

STDOUT = "-"
_CREDENTIALS = re.compile("(?<=://).*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """What to evaluate, and where its figures go. `json_file` may be `-`: stdout, in place of the text."""

    folder: Path
    labels_map: Path | None
    limit: int | None
    min_accuracy: float | None
    json_file: str | None
    html_path: Path | None


def evaluate_by_service(
    client: Client, models: Sequence[str], options: EvaluationOptions, *, concurrency: int | None
) -> None:
    """Evaluate models of a running service, one after the other; raises as `_evaluate`."""
    find = partial(find_served, client, concurrency=concurrency)
    _evaluate(models, find, options, run_by=f"the service at {without_credentials(client.base_url)}")


def evaluate_here(models: Sequence[str], options: EvaluationOptions, *, concurrency: int | None) -> None:
    """Evaluate stored models in this process, one after the other; raises as `_evaluate`."""
    _evaluate(models, partial(find_stored, concurrency=concurrency), options, run_by="this process")


def _evaluate(
    models: Sequence[str], find: Callable[[str], Subject], options: EvaluationOptions, *, run_by: str
) -> None:
    """Evaluate the models, write the report, and say by the exit code what came of it.

    Raises:
        CommandError: The folder, a model or a file to write is wrong, or nothing was answered; or, once the report is
            written, the accuracy is too low, or some photograph got no answer.
        LightboxError, LightboxClientError: A model cannot be had, or the run ended early.
    """
    files = {path: render for path, render in _list_files(options).items() if path != STDOUT}
    require_writable(map(Path, files))
    begun_at = datetime.now(UTC).isoformat(timespec="seconds")
    subjects = [find(model) for model in models]
    _require_comparable(subjects)
    names = read_names(options.labels_map) if options.labels_map else {}
    folders = [find_photographs(options.folder, subject.labels, names) for subject in subjects]
    _require_same_classes(subjects, folders, names)
    report = EvaluationReport(
        begun_at=begun_at,
        command=to_text(shlex.join(["lightbox", *(_CREDENTIALS.sub("", one) for one in sys.argv[1:])])),
        folder=to_text(options.folder),
        run_by=run_by,
        found=len(folders[0].photographs),
        ignored=folders[0].ignored,
        class_count=len(set(folders[0].classes.values())),
        models=_run(subjects, folders, options.limit),
        min_accuracy=options.min_accuracy,
    )
    # Before stdout, whose reader may have left.
    for path, render in files.items():
        try:
            Path(path).write_text(render(report), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
    with explained_writes(sys.stdout):
        if options.json_file == STDOUT:
            sys.stdout.write(to_json(report))
        else:
            write_text(report, plain_console(sys.stdout))
        sys.stdout.flush()
    if not report.is_accurate_enough:
        raise CommandError(give_verdict(report), ExitCode.TOO_INACCURATE)
    if any(model.figures.failed for model in report.models):
        raise CommandError("some photographs got no answer; the figures are of the others", ExitCode.BAD_INPUT)


def _list_files(options: EvaluationOptions) -> Mapping[str, Callable[[EvaluationReport], str]]:
    files: dict[str, Callable[[EvaluationReport], str]] = {}
    if options.json_file is not None:
        files[options.json_file] = to_json
    if options.html_path is not None:
        files[str(options.html_path)] = write_page
    return files


def _require_comparable(subjects: Sequence[Subject]) -> None:
    keys = [subject.key for subject in subjects]
    for subject in subjects:
        if keys.count(subject.key) > 1:
            raise CommandError(f"{subject.key} is named twice; --against takes another model", ExitCode.BAD_INPUT)
        if len(subject.labels) == 1:
            raise CommandError(f"{subject.key} has one class only, so every answer is the same", ExitCode.BAD_INPUT)


def _require_same_classes(
    subjects: Sequence[Subject], folders: Sequence[LabelledFolder], names: Mapping[str, str]
) -> None:
    """Refuse models for which a subfolder means different classes: named by its id, it may."""
    for subject, folder in zip(subjects, folders, strict=True):
        for name, class_id in folder.classes.items():
            meant, other = subjects[0].labels[folders[0].classes[name]], subject.labels[class_id]
            if names.get(name, name).isdecimal() and meant != other:
                raise CommandError(
                    f"the subfolder {name!r} is {meant!r} for {subjects[0].key} and {other!r} for {subject.key}; name "
                    "the subfolders by labels",
                    ExitCode.BAD_INPUT,
                )


def _run(
    subjects: Sequence[Subject], folders: Sequence[LabelledFolder], limit: int | None
) -> tuple[EvaluatedModel, ...]:
    console = stderr_console()
    named_failures: set[str] = set()

    def say_failure(photograph: Photograph, message: str) -> None:
        if photograph.path not in named_failures:
            named_failures.add(photograph.path)
            console.print(f"{to_line(photograph.path)}: {message}")

    models: list[EvaluatedModel] = []
    first_verdicts: Sequence[int] = ()
    with open_progress(console) as progress:
        for subject, folder in zip(subjects, folders, strict=True):
            photographs = _order(folders[0], folder, limit)
            tally = Tally(subject.labels, are_probabilities=subject.score_kind == "softmax")
            engine, wall_s = uvloop.run(_score_all(subject, photographs, tally, progress, say_failure))
            if not tally.answered:
                raise CommandError(f"{subject.key} answered no photograph", ExitCode.BAD_INPUT)
            models.append(
                EvaluatedModel(
                    name=subject.name,
                    version=subject.version,
                    engine=engine,
                    score_kind=subject.score_kind,
                    class_count=len(subject.labels),
                    figures=tally.finish(wall_s),
                    comparison=compare(first_verdicts, tally.verdicts) if models else None,
                )
            )
            first_verdicts = first_verdicts or tally.verdicts
    return tuple(models)


def _order(first: LabelledFolder, folder: LabelledFolder, limit: int | None) -> Sequence[Photograph]:
    """Return a model's photographs in the order of the first model's, so that their verdicts can be compared."""
    of_path = {photograph.path: photograph for photograph in folder.photographs} if folder is not first else {}
    chosen = draw_sample(first.photographs, limit) if limit else first.photographs
    return [of_path.get(photograph.path, photograph) for photograph in chosen]


async def _score_all(
    subject: Subject,
    photographs: Sequence[Photograph],
    tally: Tally,
    progress: Progress,
    say_failure: Callable[[Photograph, str], None],
) -> tuple[str, float]:
    """Add the answers to the tally; return the engine and the seconds that it took, without loading the model."""
    task = progress.add_task(subject.name, total=len(photographs))
    async with subject.open() as scorer:
        begun_s = time.perf_counter()
        async for outcome in classify_in_order(photographs, scorer.score, concurrency=subject.in_flight):
            if outcome.answer is not None:
                tally.add(outcome.item, outcome.answer)
            elif outcome.failure is not None:
                tally.add_failure(outcome.item, outcome.failure.code, outcome.failure.message)
                say_failure(outcome.item, f"{outcome.failure.message} ({outcome.failure.code})")
            progress.advance(task)
        return scorer.engine, time.perf_counter() - begun_s
