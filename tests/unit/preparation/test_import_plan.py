from dataclasses import replace
from typing import Any

import pytest

from bento_service.domain.models import Fit, InputRecipe
from bento_service.errors import MissingFactsError, ModelLoadError, WrongFactsError
from bento_service.preparation.import_facts import GraphShape, complete
from bento_service.preparation.import_plan import describe, make_plan, make_recipe
from bento_service.preparation.inspection import Activation
from bento_service.preparation.sources.findings import NOTHING, Finding, Findings, ModelFindings, RecipeFindings
from bento_service.preparation.sources.onnx_metadata import findings_of_recipe

RECIPE = InputRecipe(32, 48, 0.9, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
SHAPE = GraphShape(channels=3, height_px=32, width_px=48, classes=2, activation="none")
LABELS = Findings(labels=Finding(("cat", "dog"), "labels.txt"))
FILES = ModelFindings(facts=LABELS, recipe=findings_of_recipe(RECIPE, "a file"))


def test_everything_that_a_graph_does_not_say_is_asked_for_at_once() -> None:
    with pytest.raises(MissingFactsError) as missing:
        make_plan("pets", complete(NOTHING, None, NOTHING, SHAPE), SHAPE)

    message = missing.value.message
    for flag in ("--labels FILE", "--fit", "--interpolation", "--recipe imagenet|", "--channels", "--check FOLDER"):
        assert flag in message
    assert "the 2 labels" in message
    assert "Known: size 48×32 (the graph's input)." in message
    assert "--size" not in message
    assert "--crop-fraction" not in message  # only if it crops


@pytest.mark.parametrize(
    ("fit", "flag"), [("crop", "--crop-fraction"), ("letterbox", "--pad-value"), ("squash", "--channels")]
)
def test_a_fit_asks_for_what_belongs_to_it(fit: str, flag: str) -> None:
    stated = ModelFindings(recipe=RecipeFindings(fit=Finding(fit, "--fit")))  # type: ignore[arg-type]

    with pytest.raises(MissingFactsError) as missing:
        make_plan("pets", complete(stated, None, NOTHING, SHAPE), SHAPE)

    assert flag in missing.value.message
    assert ("--crop-fraction" in missing.value.message) == (fit == "crop")
    assert ("--pad-value" in missing.value.message) == (fit == "letterbox")


@pytest.mark.parametrize(
    ("fit", "facts", "message"),
    [
        ("squash", {"crop_fraction": 0.9}, r"--crop-fraction goes with --fit crop, and the fit is squash \(--fit\)"),
        ("crop", {"pad_value": 114}, r"--pad-value goes with --fit letterbox, and the fit is crop \(--fit\)"),
    ],
)
def test_what_belongs_to_another_fit_is_refused(fit: Fit, facts: dict[str, float], message: str) -> None:
    findings: dict[str, Any] = {name: Finding(value, f"--{name.replace('_', '-')}") for name, value in facts.items()}
    stated = ModelFindings(recipe=RecipeFindings(fit=Finding(fit, "--fit"), **findings))

    with pytest.raises(WrongFactsError, match=message):
        complete(stated, "imagenet", FILES, SHAPE)


def test_a_flag_wins_over_a_preset_that_over_the_files_and_they_over_the_presets_crop() -> None:
    stated = ModelFindings(recipe=RecipeFindings(channels=Finding("bgr", "--channels")))

    plan = make_plan("pets", complete(stated, "imagenet", FILES, SHAPE), SHAPE)

    assert plan.recipe == replace(RECIPE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), channels="bgr")
    assert plan.found_in["channels"] == "--channels"
    assert plan.found_in["mean"] == "--recipe imagenet"
    assert plan.found_in["crop fraction"] == "a file"
    assert [line.partition(": ")[2] for line in describe(plan)][:2] == ["labels.txt", "a file"]


def test_a_preset_is_enough_for_a_graph_with_a_size() -> None:
    plan = make_plan("pets", complete(NOTHING, "caffe-bgr", ModelFindings(facts=LABELS), SHAPE), SHAPE)

    recipe = plan.recipe
    assert (recipe.fit, recipe.crop_fraction, recipe.interpolation, recipe.channels) == (
        "crop",
        0.875,
        "bilinear",
        "bgr",
    )


def test_a_grey_graph_takes_one_value_and_refuses_three_that_differ() -> None:
    grey = replace(SHAPE, channels=1)

    plan = make_plan("digits", complete(NOTHING, "zero-one", ModelFindings(facts=LABELS), grey), grey)
    assert (plan.recipe.channels, plan.recipe.mean, plan.recipe.std) == ("grey", (0.0,), (1.0,))
    with pytest.raises(ModelLoadError, match="--recipe imagenet has 3 values, and the model takes one channel"):
        make_plan("digits", complete(NOTHING, "imagenet", ModelFindings(facts=LABELS), grey), grey)


def test_a_graph_that_takes_bytes_needs_no_normalisation() -> None:
    takes_bytes = replace(SHAPE, takes_bytes=True)

    plan = make_plan("pets", complete(NOTHING, None, FILES, takes_bytes), takes_bytes)

    assert plan.recipe.std == (1 / 255,) * 3


def test_as_many_labels_as_classes_are_needed() -> None:
    with pytest.raises(ModelLoadError, match=r"has 3 classes, and labels\.txt has 2 labels"):
        make_plan("pets", FILES, replace(SHAPE, classes=3))


@pytest.mark.parametrize(
    ("stated", "inside", "score_kind"),
    [
        (None, "none", "softmax"),
        (None, "sigmoid", "independent"),
        ("sigmoid", "none", "independent"),
        ("none", "softmax", "softmax"),
        ("none", "sigmoid", "independent"),
    ],
)
def test_the_kind_of_scores_is_what_the_graph_returns_or_what_is_stated(
    stated: Activation | None, inside: Activation, score_kind: str
) -> None:
    facts = Findings(activation=Finding(stated, "--activation") if stated else None).or_else(LABELS)
    shape = replace(SHAPE, activation=inside)

    assert make_plan("pets", replace(FILES, facts=facts), shape).score_kind == score_kind


def test_scores_that_are_no_probabilities_are_not_left_as_they_are() -> None:
    facts = replace(LABELS, activation=Finding("none", "--activation"))

    with pytest.raises(ModelLoadError, match="returns other scores"):
        make_plan("pets", replace(FILES, facts=facts), SHAPE)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", (0, 32)),
        ("size", (32, 100_000)),
        ("crop_fraction", 0.0),
        ("crop_fraction", float("nan")),
        ("mean", (float("nan"), 0.0, 0.0)),
        ("std", (1.0, 0.0, 1.0)),
    ],
)
def test_values_that_no_image_can_be_made_with_are_refused(field: str, value: object) -> None:
    wrong = RecipeFindings(**{field: Finding(value, "a file")})  # type: ignore[arg-type]

    with pytest.raises(WrongFactsError, match=f"The {field.replace('_', ' ')} of a file cannot be"):
        make_plan("pets", ModelFindings(facts=LABELS, recipe=wrong.or_else(FILES.recipe)), SHAPE)


@pytest.mark.parametrize("label", ["\x1b]0;title\x07", "two\nlines", "\ud800", "\x9b31m", "", "x" * 501])
def test_labels_that_harm_a_terminal_or_cannot_be_shown_are_refused(label: str) -> None:
    labels = Findings(labels=Finding(("cat", label), "labels.txt"))

    with pytest.raises(WrongFactsError, match=r"class 1 \(labels\.txt\)"):
        make_plan("pets", ModelFindings(facts=labels, recipe=FILES.recipe), SHAPE)


def test_a_flag_that_contradicts_the_graph_is_refused() -> None:
    grey = replace(SHAPE, channels=1)
    softmax = replace(SHAPE, activation="softmax")
    stated = ModelFindings(
        facts=Findings(activation=Finding("sigmoid", "--activation")),
        recipe=RecipeFindings(channels=Finding("rgb", "--channels")),
    )

    with pytest.raises(WrongFactsError, match="--channels is rgb, and the graph takes one channel: leave it out"):
        complete(stated, None, FILES, grey)
    with pytest.raises(WrongFactsError, match="--activation is sigmoid, and the graph's scores went through softmax"):
        make_plan("pets", complete(stated, None, FILES, softmax), softmax)


def test_a_resize_as_opencvs_is_stated_shown_and_refused_for_a_filter_that_it_lacks() -> None:
    stated = ModelFindings(recipe=RecipeFindings(is_antialiased=Finding(False, "--no-antialias")))

    plan = make_plan("pets", complete(stated, None, FILES, SHAPE), SHAPE)

    assert plan.recipe == replace(RECIPE, is_antialiased=False)
    assert "crop 0.9, bicubic as OpenCV's: a file; --no-antialias" in describe(plan)
    assert not make_recipe(findings_of_recipe(plan.recipe, "an export")).is_antialiased
    assert make_recipe(replace(FILES.recipe, is_antialiased=None)).is_antialiased
    averaging = replace(stated.recipe, interpolation=Finding("box", "--interpolation"))
    with pytest.raises(WrongFactsError, match="goes with --antialias only"):
        make_recipe(averaging.or_else(FILES.recipe))
