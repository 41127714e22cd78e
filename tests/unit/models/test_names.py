import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bento_service.models.names import bento_name, unknown_model


def test_a_library_and_its_model_make_one_tag_name() -> None:
    assert bento_name("efficientnet_lite0") == "lightbox-efficientnet_lite0"
    assert bento_name("timm/resnet50.a1_in1k") == "lightbox-timm-resnet50.a1_in1k"


@given(st.text(min_size=1, max_size=120))
@example("timm/" + "x" * 200)
@example("torchvision/ends.with.")
def test_any_name_becomes_a_tag_name_that_bentoml_takes(name: str) -> None:
    tag_name = bento_name(name)

    assert re.fullmatch(r"[a-z0-9]([-._a-z0-9]*[a-z0-9])?", tag_name)
    assert len(tag_name) <= 63


@given(st.sets(st.text(alphabet="aA/-_.é", min_size=1, max_size=6), min_size=2, max_size=2))
def test_two_names_never_share_a_tag_name_unless_only_the_library_tells_them_apart(names: set[str]) -> None:
    first, second = names

    if first.replace("/", "-", 1) != second.replace("/", "-", 1):
        assert bento_name(first) != bento_name(second)


def test_an_unknown_name_is_answered_with_those_that_come_close() -> None:
    error = unknown_model("efficientnet_lite9", ("efficientnet_lite0", "resnet50"), allowed="Take one of two.")

    assert "'efficientnet_lite9'" in error.message
    assert "Did you mean 'efficientnet_lite0'" in error.message
    assert "Take one of two." in error.message


@pytest.mark.parametrize("name", ["zzzz", ""])
def test_a_name_that_nothing_comes_close_to_gets_no_guess(name: str) -> None:
    assert "Did you mean" not in unknown_model(name, ("resnet50",), allowed="").message
