"""`lightbox models import`: turns what was typed into a request, and follows the import."""

import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from bento_service.cli.errors import CommandError, ExitCode, read_settings
from bento_service.cli.models.preparing import Steps
from bento_service.cli.output import new_table, plain_console
from bento_service.domain.model_names import BUNDLED_NAMES, IMPORTED_NAME_LIMIT, is_imported_name
from bento_service.domain.models import InputRecipe
from bento_service.errors import ModelLoadError
from bento_service.extras import Part, explain_missing, find_installation
from bento_service.models.store import BentoModelStore
from bento_service.preparation.presets import NORMALISATIONS

if TYPE_CHECKING:
    from bento_service.preparation.model_import import ImportRequest
    from bento_service.preparation.recipe_check import RecipeCheck
    from bento_service.preparation.sources.discovery import Source
    from bento_service.preparation.sources.findings import ModelFindings

_SIZE = re.compile(r"(\d{1,5})(?:[x×](\d{1,5}))?")
_CLEARLY_BETTER: Final = 0.9
"""A candidate whose log loss is not below this share of another's is as good: few photographs tell no more."""
_TORCH_LIBRARIES: Final = ("torch", "torchvision", "timm", "safetensors")


def open_import_store() -> BentoModelStore:
    """Open the store that imports are written to: LIGHTBOX_MODEL_STORE where that is set, else BentoML's."""
    return BentoModelStore(read_settings().model_store)


def check_name(name: str) -> None:
    """Refuse a name that no imported model may have.

    Raises:
        CommandError: It is one.
    """
    if is_imported_name(name):
        return
    if name in BUNDLED_NAMES:
        raise CommandError(f"--name {name} is a bundled model's; choose another one", ExitCode.BAD_INPUT)
    raise CommandError(
        f"--name is {name!r}; a name has lower-case letters and digits, and `.`, `_` or `-` between them, at most "
        f"{IMPORTED_NAME_LIMIT}",
        ExitCode.BAD_INPUT,
    )


def state(flags: Mapping[str, Any]) -> "ModelFindings":
    """Return the facts that flags state, by their names without dashes; None counts as not given.

    Raises:
        CommandError: A value cannot be read.
        WrongFactsError: The file of labels cannot be read.
    """
    from bento_service.preparation.sources.findings import Finding, Findings, ModelFindings, RecipeFindings
    from bento_service.preparation.sources.label_files import read_labels

    def found(name: str, value: Any = None) -> Any:  # noqa: ANN401 - of any fact
        given = flags.get(name) if value is None else value
        return None if flags.get(name) is None else Finding(given, f"--{name.replace('_', '-')}")

    labels, size, antialias = flags.get("labels"), flags.get("size"), flags.get("antialias")
    return ModelFindings(
        facts=Findings(
            labels=read_labels(labels) if labels is not None else None,
            activation=found("activation"),
            licence=found("licence"),
        ),
        recipe=RecipeFindings(
            size=found("size", _parse_size(size)) if size is not None else None,
            fit=found("fit"),
            crop_fraction=found("crop_fraction"),
            interpolation=found("interpolation"),
            mean=found("mean", _parse_numbers("--mean", flags.get("mean"))),
            std=found("std", _parse_numbers("--std", flags.get("std"))),
            channels=found("channels"),
            pad_value=found("pad_value"),
            is_antialiased=None
            if antialias is None
            else Finding(antialias, "--antialias" if antialias else "--no-antialias"),
        ),
    )


def locate(source: str, store: BentoModelStore, *, has_arch: bool) -> "Source":
    """Return what a source is: a path, or where there is none the tag of a BentoML model.

    Raises:
        ModelLoadError: It is neither, or of a format that is not taken.
    """
    from bento_service.preparation.sources.discovery import find_source

    path = Path(source)
    if not path.exists():
        path = store.find_tag(source) or path
    return find_source(path, has_arch=has_arch)


def write_check(check: "RecipeCheck", chosen: InputRecipe | None, stream: TextIO) -> None:
    """Write the figures of the candidates, and mark the recipe that is imported."""
    table = new_table()
    for heading in ("", "recipe", "accuracy", "log loss"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in {"accuracy", "log loss"} else "left")
    for figures in check.figures:
        recipe, mark, name = figures.recipe, "→" if figures.recipe == chosen else "", figures.name
        if chosen is None and (preset := _find_preset(recipe)):
            name = f"{preset}, {recipe.channels}, {recipe.fit}"  # none was given
            name += "" if recipe.is_antialiased else ", not antialiased"
        table.add_row(mark, name, f"{figures.accuracy:.1%}", f"{figures.log_loss:.3f}")
    stream.write(f"\nOver {check.used} of {check.found} labelled photographs, best first:\n")
    plain_console(stream).print(table)
    stream.write(f"{_judge(check, chosen)}\n\n")
    stream.flush()


def _judge(check: "RecipeCheck", chosen: InputRecipe | None) -> str:
    """Return the sentence that compares the recipe that is imported with the best candidate."""
    best = check.figures[0]
    used = next((figures for figures in check.figures if figures.recipe == chosen), None)
    if used is None:
        return f"No recipe is stated yet. The best of these: {state_recipe(best.recipe)}"
    if used.accuracy >= best.accuracy and used.log_loss * _CLEARLY_BETTER <= best.log_loss:
        return "→ is imported; no other recipe is clearly better on these photographs."
    flags = state_recipe(best.recipe)
    if best.recipe.is_antialiased and not used.recipe.is_antialiased:
        flags += " --antialias"
    return f"→ is imported, although another is better on these photographs: {flags}"


def state_recipe(recipe: InputRecipe) -> str:
    """Return the flags that state a recipe, but for its size."""
    preset = _find_preset(recipe)
    mean, std = (",".join(f"{value:g}" for value in values) for values in (recipe.mean, recipe.std))
    normalisation = f"--recipe {preset}" if preset else f"--mean {mean} --std {std}"
    fit = {"crop": f" --crop-fraction {recipe.crop_fraction:g}", "letterbox": f" --pad-value {recipe.pad_value}"}
    channels = "" if recipe.channels == "grey" else f" --channels {recipe.channels}"
    antialias = "" if recipe.is_antialiased else " --no-antialias"
    return (
        f"{normalisation}{channels} --fit {recipe.fit}{fit.get(recipe.fit, '')} "
        f"--interpolation {recipe.interpolation}{antialias}"
    )


def _find_preset(recipe: InputRecipe) -> str | None:
    found = (name for name, it in NORMALISATIONS.items() if (it.mean, it.std) == (recipe.mean, recipe.std))
    return next(found, None)


def follow_import(request: "ImportRequest", store: BentoModelStore, stream: TextIO) -> None:
    """Import a model, and write a line for each step and each finding.

    Raises:
        ModelLoadError: It cannot be imported, or a library that this takes is not installed.
    """
    from bento_service.preparation.model_import import Listener, import_model

    steps, name = Steps(stream), request.name
    listener = Listener(partial(steps.show, name), partial(write_check, stream=stream))
    try:
        with _exit_on_signals():
            stored = import_model(request, store, listener)
    except ModuleNotFoundError as error:
        raise _explain_library(error, f"Importing {request.source.description}") from error
    card = stored.card
    for engine, parity in stored.parities.items():
        moved = f"a probability moves by up to {parity.max_probability_difference:.4f}"
        steps.show(name, f"parity on {engine}: {moved}, same best class on {parity.top1_agreement:.1%}")
    if card.max_batch is not None:
        steps.show(name, f"the graph takes batches of at most {card.max_batch}")
    steps.show(name, f"stored as {name}:{card.version}")
    if find_installation().is_container:
        stream.write(f"Serve it with `-e LIGHTBOX_MODELS={name}` and this folder at /models.\n")
    else:
        running = f"`lightbox models load {name}` where a service runs with LIGHTBOX_MODEL_CONTROL=explicit"
        stream.write(f"Serve it with `LIGHTBOX_MODELS={name} lightbox up`, or {running}.\n")


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """End as Ctrl-C does where this process is to stop, so that no temporary folder is left behind."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _explain_library(error: ModuleNotFoundError, subject: str) -> ModelLoadError:
    package = (error.name or "").partition(".")[0]
    part: Part = "torch" if package in _TORCH_LIBRARIES else "bundled"
    part = "transformers" if package == "transformers" else part
    return ModelLoadError(explain_missing(subject, part))


def _parse_size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text.strip())
    if match is None or int(match[1]) == 0 or match[2] == "0":
        raise CommandError(f"--size is {text!r}; it takes pixels: 224, or WIDTHxHEIGHT", ExitCode.BAD_INPUT)
    width_px = int(match[1])
    return int(match[2] or width_px), width_px


def _parse_numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in re.split(r"[,\s]+", text.strip()))
    except ValueError:
        numbers = ()
    if len(numbers) not in {1, 3}:
        raise CommandError(
            f"{flag} is {text!r}; it takes one number or three, separated by commas: 0.485,0.456,0.406",
            ExitCode.BAD_INPUT,
        )
    if max(map(abs, numbers)) > 2:
        raise CommandError(
            f"{flag} is {text!r}; the numbers are for pixels in 0-1: divide those for 0-255 by 255", ExitCode.BAD_INPUT
        )
    return numbers
