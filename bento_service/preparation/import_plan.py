"""The plan of an import, made of its facts: nothing is guessed, and what contradicts itself is refused."""

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from bento_service.domain.models import InputRecipe, ScoreKind
from bento_service.errors import MissingFactsError, WrongFactsError
from bento_service.preparation.import_facts import GraphShape, is_needed, list_missing
from bento_service.preparation.sources.base import UNKNOWN_LICENCE
from bento_service.preparation.sources.findings import Finding, ModelFindings, RecipeFindings, T

_MAX_LABEL_LETTERS: Final = 500
_MAX_SIDE_PX: Final = 8192

_PRESET_HINT = (
    "\n--recipe also states the crop, interpolation and channels that usually go with its normalisation. With labelled "
    "photographs, a subfolder a class, --check FOLDER tries what is usual."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """All that an import needs to know, and where each of it was found."""

    labels: tuple[str, ...]
    recipe: InputRecipe
    score_kind: ScoreKind
    licence: str
    source: str
    found_in: Mapping[str, str] = field(default_factory=dict)


def make_plan(name: str, found: ModelFindings, shape: GraphShape) -> ImportPlan:
    """Return the plan of an import.

    Raises:
        MissingFactsError: Facts are missing; the message names the flags.
        WrongFactsError: They contradict each other, or the graph.
    """
    missing = list(list_missing(found, shape))
    if missing:
        listed = "\n".join(f"  - {line}" for line in missing)
        known = "; ".join(_list_known(found))
        known = f"\nKnown: {known}." if known else ""
        hint = _PRESET_HINT if found.recipe.mean is None or found.recipe.fit is None else ""
        raise MissingFactsError(
            f"The files do not say all that {name!r} needs, and nothing is guessed. State\n{listed}{known}{hint}",
            model=name,
        )
    recipe, facts = make_recipe(found.recipe), found.facts
    labels = _value_of(facts.labels)
    labels_where = facts.labels.where if facts.labels else ""
    if shape.classes is not None and len(labels) != shape.classes:
        raise WrongFactsError(
            f"The model has {shape.classes} classes, and {labels_where} has {len(labels)} labels.", model=name
        )
    _check_labels(labels, labels_where)
    score_kind, where = choose_score_kind(found, shape)
    stated = {
        field.name.replace("_", " "): value.where
        for field in fields(found.recipe)
        if (value := getattr(found.recipe, field.name)) is not None and is_needed(found, field.name)
    }
    licence = facts.licence or Finding(UNKNOWN_LICENCE, "no file says one; --licence states it")
    return ImportPlan(
        labels=labels,
        recipe=recipe,
        score_kind=score_kind,
        licence=licence.value,
        source=facts.source.value if facts.source else "",
        found_in={"labels": labels_where, **stated, "activation": where, "licence": licence.where},
    )


def choose_score_kind(found: ModelFindings, shape: GraphShape) -> tuple[ScoreKind, str]:
    """Return the kind of a model's scores, and where it was found.

    Raises:
        WrongFactsError: `--activation none` is stated, and the graph returns no probabilities; or it ends in another
            activation than the stated one.
    """
    stated = found.facts.activation
    is_flag = stated is not None and stated.where == "--activation"
    if stated and is_flag and shape.activation != "none" and stated.value not in {"none", shape.activation}:
        raise WrongFactsError(
            f"--activation is {stated.value}, and the graph's scores went through {shape.activation} already: leave it "
            "out."
        )
    if shape.activation == "softmax":
        return "softmax", "the graph's scores are probabilities already"
    if shape.activation == "sigmoid":
        return "independent", "the graph ends in Sigmoid"
    match stated:
        case Finding(value="sigmoid"):
            return "independent", stated.where
        case Finding(value="softmax"):
            return "softmax", stated.where
        case Finding(value="none"):
            raise WrongFactsError(
                "--activation none is for a graph that returns probabilities, and this one returns other scores. State "
                "--activation softmax (one label is right) or sigmoid (each label by itself)."
            )
    if shape.classes == 1:
        return "independent", "the model has one class"
    return "softmax", "the usual one for classes that exclude each other; --activation sigmoid for others"


def make_recipe(found: RecipeFindings) -> InputRecipe:
    """Return the recipe of findings of which `list_missing` has none.

    Raises:
        WrongFactsError: Mean or deviation has another number of values than the model has channels; a value cannot be;
            or OpenCV's resize has no such interpolation.
    """
    height_px, width_px = _value_of(found.size)
    interpolation = _value_of(found.interpolation)
    is_antialiased = found.is_antialiased.value if found.is_antialiased else True
    if interpolation == "box" and not is_antialiased:
        raise WrongFactsError(
            "--interpolation box goes with --antialias only: it averages all pixels. OpenCV's INTER_AREA does so too, "
            "and is not among Lightbox's filters; box with --antialias is the nearest to it."
        )
    fit, channels = _value_of(found.fit), _value_of(found.channels)
    count = 1 if channels == "grey" else 3
    recipe = InputRecipe(
        height_px=height_px,
        width_px=width_px,
        crop_fraction=_value_of(found.crop_fraction) if fit == "crop" else 1.0,
        interpolation=interpolation,
        mean=_spread(found.mean, count, "--mean"),
        std=_spread(found.std, count, "--std"),
        fit=fit,
        channels=channels,
        pad_value=_value_of(found.pad_value) if fit == "letterbox" else 0,
        is_antialiased=is_antialiased,
    )
    _check_values(recipe, found)
    return recipe


def _check_values(recipe: InputRecipe, found: RecipeFindings) -> None:
    """Refuse values of files that no image can be made with; those of flags are limited there."""
    sides = (recipe.height_px, recipe.width_px)
    wrong = {
        "size": not all(1 <= side <= _MAX_SIDE_PX for side in sides),
        "crop_fraction": not 0.05 <= recipe.crop_fraction <= 2,
        "mean": not all(map(math.isfinite, recipe.mean)),
        "std": not all(math.isfinite(value) and value != 0 for value in recipe.std),
        "pad_value": not 0 <= recipe.pad_value <= 255,
    }
    for name in (name for name, is_wrong in wrong.items() if is_wrong):
        finding = getattr(found, name)
        value = finding.value if name != "size" else f"{recipe.width_px} x {recipe.height_px} pixels"
        raise WrongFactsError(f"The {name.replace('_', ' ')} of {finding.where} cannot be {value}.")


def _check_labels(labels: Sequence[str], where: str) -> None:
    for index, label in enumerate(labels):
        # They are shown in terminals, in a line each; a surrogate is half a character.
        if any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in label):
            raise WrongFactsError(
                f"The label {label[:50]!r} of class {index} ({where}) has line breaks or control characters: state "
                "others by --labels."
            )
        if not label.strip() or len(label) > _MAX_LABEL_LETTERS:
            raise WrongFactsError(
                f"The label of class {index} ({where}) has {len(label)} letters; a label has 1 to {_MAX_LABEL_LETTERS}."
            )


def describe(plan: ImportPlan) -> Iterator[str]:
    """Yield a line for each fact with where it was found, for people."""
    recipe, where = plan.recipe, plan.found_in
    shown = ", ".join(plan.labels[:4]) + (", …" if len(plan.labels) > 4 else "")
    yield f"{len(plan.labels)} labels ({shown}): {where['labels']}"
    fit = f"crop {recipe.crop_fraction:g}" if recipe.fit == "crop" else recipe.fit
    fit += f" on {recipe.pad_value}" if recipe.fit == "letterbox" else ""
    yield f"input {recipe.width_px}×{recipe.height_px}: {where['size']}"
    resize = recipe.interpolation if recipe.is_antialiased else f"{recipe.interpolation} as OpenCV's"
    places = _join(where, "fit", "crop fraction", "interpolation", "is antialiased", "pad value")
    yield f"{fit}, {resize}: {places}"
    mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (recipe.mean, recipe.std))
    yield f"{recipe.channels}, mean {mean}, std {std}: {_join(where, 'channels', 'mean', 'std')}"
    yield f"scores: {plan.score_kind}: {where['activation']}"
    yield f"licence {plan.licence}: {where['licence']}"


def _list_known(found: ModelFindings) -> Iterator[str]:
    if labels := found.facts.labels:
        yield f"{len(labels.value)} labels ({labels.where})"
    for name in ("size", "fit", "crop_fraction", "interpolation", "mean", "std", "channels"):
        finding = getattr(found.recipe, name)
        if finding is None:
            continue
        value = "×".join(map(str, reversed(finding.value))) if name == "size" else finding.value
        yield f"{name.replace('_', ' ')} {value} ({finding.where})"


def _join(where: Mapping[str, str], *names: str) -> str:
    return "; ".join(dict.fromkeys(where[name] for name in names if name in where))


def _spread(values: Finding[tuple[float, ...]] | None, count: int, flag: str) -> tuple[float, ...]:
    """Return a value for each channel. One value, or several equal ones, count for all."""
    given = _value_of(values)
    if len(given) == count:
        return given
    if len(set(given)) != 1:
        where = values.where if values else flag
        channels = "one channel" if count == 1 else f"{count} channels"
        raise WrongFactsError(f"{where} has {len(given)} values, and the model takes {channels}: state {flag}.")
    return given[:1] * count


def _value_of(finding: Finding[T] | None) -> T:
    if finding is None:
        raise ValueError("a fact is missing that was not listed")
    return finding.value
