"""What `lightbox models import --check` says of the candidates."""

import io
from dataclasses import replace

import pytest

from bento_service.cli.models.importing import write_check
from bento_service.domain.models import InputRecipe
from bento_service.preparation.recipe_check import RecipeCheck, RecipeFigures

IMAGENET = InputRecipe(224, 224, 0.875, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SQUASHED = replace(IMAGENET, fit="squash", crop_fraction=1.0, channels="bgr")
OWN = replace(IMAGENET, mean=(0.1,), std=(0.2,), fit="letterbox", channels="grey", pad_value=114)


def said(chosen: InputRecipe | None, *figures: RecipeFigures) -> list[str]:
    stream = io.StringIO()
    write_check(RecipeCheck(figures, used=40, found=50), chosen, stream)
    return stream.getvalue().strip().splitlines()


def test_a_wrong_recipe_is_seen_at_once() -> None:
    best, worse = RecipeFigures("bgr, squash", SQUASHED, 0.97, 0.1), RecipeFigures("as given", IMAGENET, 0.75, 0.9)

    heading, _, first, second, verdict = said(IMAGENET, best, worse)

    assert heading == "Over 40 of 50 labelled photographs, best first:"
    assert first.split() == ["bgr,", "squash", "97.0%", "0.100"]
    assert second.split() == ["→", "as", "given", "75.0%", "0.900"]
    assert verdict.endswith(
        "better on these photographs: --recipe imagenet --channels bgr --fit squash --interpolation bilinear"
    )


def test_candidates_that_the_photographs_do_not_tell_apart_are_equal() -> None:
    best, given = RecipeFigures("clip", SQUASHED, 1.0, 0.077), RecipeFigures("as given", IMAGENET, 1.0, 0.079)

    assert said(IMAGENET, best, given)[-1] == "→ is imported; no other recipe is clearly better on these photographs."


@pytest.mark.parametrize(
    ("recipe", "flags"),
    [
        (IMAGENET, "--recipe imagenet --channels rgb --fit crop --crop-fraction 0.875 --interpolation bilinear"),
        (OWN, "--mean 0.1 --std 0.2 --fit letterbox --pad-value 114 --interpolation bilinear"),
    ],
)
def test_the_best_is_said_in_flags_where_no_recipe_is_stated(recipe: InputRecipe, flags: str) -> None:
    assert (
        said(None, RecipeFigures("best", recipe, 1.0, 0.1))[-1]
        == f"No recipe is stated yet. The best of these: {flags}"
    )
