from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.domain.models import INEXACT_MODEL
from bento_service.domain.requests import ImageWarning
from bento_service.errors import UnsupportedFormatError
from bento_service.images.formats import sniff
from dashboard import wording
from lightbox_client.contract import DeviceInfo, Prediction, Problem
from lightbox_client.errors import InvalidImageError
from tests.fakes import service_data


def predictions(*scores: float) -> list[Prediction]:
    return [Prediction(class_id=rank, label=f"thing {rank}", score=score) for rank, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("scores", "headline", "subline"),
    [
        ((0.93, 0.02), "Thing 0", "93% sure"),
        ((0.4, 0.3, 0.1), "Probably thing 0 (40%)", "Other guesses: thing 1 (30%), thing 2 (10%)"),
        ((0.4,), "Probably thing 0 (40%)", ""),
        ((0.1, 0.09), "Not recognised. Best guess: thing 0 (10%)", "Other guesses: thing 1 (9.0%)"),
    ],
)
def test_the_headline_is_no_surer_than_the_score(scores: tuple[float, ...], headline: str, subline: str) -> None:
    assert wording.headline(predictions(*scores)) == headline
    assert wording.subline(predictions(*scores)) == subline


@pytest.mark.parametrize(
    ("scores", "headline", "subline"),
    [
        ((0.97, 0.81, 0.2), "Thing 0, thing 1", "Each class has a score of its own; they do not sum to 100%."),
        ((0.9,) * 7, "Thing 0, thing 1, thing 2, thing 3, thing 4 and 2 more", None),
        ((0.4, 0.3), "Nothing recognised. Highest score: thing 0 (40%)", None),
    ],
)
def test_of_independent_scores_each_class_that_applies_is_named(
    scores: tuple[float, ...], headline: str, subline: str | None
) -> None:
    assert wording.headline(predictions(*scores), "independent") == headline
    if subline is not None:
        assert wording.subline(predictions(*scores), "independent") == subline


@pytest.mark.parametrize(
    ("label", "written"),
    [
        ("tiger cat", "a tiger cat"),
        ("Egyptian cat", "an Egyptian cat"),
        ("unicycle", "a unicycle"),
        ("jack-o'-lantern", "a jack-o'-lantern"),
        ("jeans", "jeans"),
        ("class 7", "class 7"),
        ("Blässhuhn", "Blässhuhn"),
        ("", ""),
    ],
)
def test_an_english_noun_gets_its_article_and_nothing_else_does(label: str, written: str) -> None:
    assert wording.with_article(label) == written


def test_of_many_skipped_files_some_are_named() -> None:
    names = [f"{number}.jpg" for number in range(7)]
    said = wording.skipped(names, max_files=20, max_total_mb=64)
    assert said.startswith("7 files skipped: 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 2 more. At most 20 images and 64 MB")
    assert wording.skipped(["a.jpg"], max_files=1, max_total_mb=1).startswith("1 file skipped: a.jpg. ")


def test_the_first_bytes_of_a_file_that_is_no_image_are_left_to_the_details() -> None:
    encoded = bytes.fromhex("dead beef 0102 0304 05")
    with pytest.raises(UnsupportedFormatError) as refused:
        sniff(encoded)
    document = {"type": "about:blank", "title": "", "status": 415, "code": "unsupported_format", "request_id": "r1"}
    error = InvalidImageError(Problem.model_validate(document | {"detail": str(refused.value)}))
    assert wording.problem(error).startswith("This is not an image Lightbox can read; ")
    details = wording.problem_details(error, encoded)
    assert details == f"{refused.value}\ncode: unsupported_format\nrequest: r1\nfirst bytes: de ad be ef 01 02 03 04"


@pytest.mark.parametrize("code", [*ImageWarning, INEXACT_MODEL])
def test_every_warning_of_the_service_has_a_sentence_of_its_own(code: str) -> None:
    assert wording.warning(code) != wording.capitalise(code.replace("_", " ")) + "."


def test_a_warning_that_is_new_is_spelt_out() -> None:
    assert wording.warning("depth_map_dropped") == "Depth map dropped."


@given(st.floats(min_value=0.0, max_value=1.0, exclude_min=True, exclude_max=True))
def test_no_score_is_rounded_to_a_certainty_or_an_impossibility(score: float) -> None:
    assert wording.percent(score) not in {"0%", "0.0%", "100%", "100.0%"}


@pytest.mark.parametrize(
    ("write", "values", "written"),
    [
        (wording.duration, (42, 61, 3_725, 266_400), ["42 s", "1 min 1 s", "1 h 2 min", "3 d 2 h"]),
        (wording.ago, (40, 9_949, 10_000, 72_500), ["0.0 s", "9.9 s", "10 s", "1 min 12 s"]),
        (wording.size, (0, 999, 19_784, 16e6, 2e9), ["0 B", "999 B", "19.8 kB", "16.0 MB", "2.0 GB"]),
        (wording.rate, (0, 0.0004, 0.25, 1_234.5), ["0.00", "< 0.01", "0.25", "1,234.50"]),
    ],
)
def test_a_quantity_is_written_in_the_unit_that_fits(
    write: Callable[[float], str], values: tuple[float, ...], written: list[str]
) -> None:
    assert [write(value) for value in values] == written


def test_a_time_zone_that_nobody_knows_is_utc() -> None:
    assert str(wording.zone("Mars/Olympus")) == "UTC"


def test_a_model_whose_licence_nobody_names_says_so() -> None:
    card = service_data.model_card()

    assert wording.model_line(card).endswith(" · Apache-2.0")
    assert wording.model_line(card.model_copy(update={"licence": "unknown"})).endswith(" · licence unknown")


def test_a_models_line_says_that_it_runs_on_the_gpu() -> None:
    card = service_data.model_card()
    gpu = DeviceInfo(kind="cuda", name="NVIDIA H200", memory_bytes=141 * 2**30, cores=16)

    assert " · openvino f32 · " in wording.model_line(card)
    assert " · openvino f32 on GPU · " in wording.model_line(card.model_copy(update={"device": gpu}))
