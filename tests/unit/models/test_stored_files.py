"""The files of a stored version, and the tag names of models."""

import re
import shutil
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bento_service.errors import ModelLoadError
from bento_service.models.store import BentoModelStore
from bento_service.models.stored_files import bento_name
from tests.unit.models.stored import RECIPE, Folders, describe, save


def test_what_an_import_adds_to_a_card_is_read_again(folders: Folders) -> None:
    recipe = replace(
        RECIPE, fit="letterbox", channels="grey", mean=(0.5,), std=(0.25,), pad_value=114, is_antialiased=False
    )
    card = replace(
        describe("pets", "1"),
        recipe=recipe,
        score_kind="independent",
        found_in={"labels": "--labels"},
        max_batch=1,
        memory_bytes=50,
    )

    stored = BentoModelStore(folders.own).save(
        card, write_model=lambda onnx_path, _: onnx_path.touch(), measure=lambda _: {}
    )

    assert stored.card == card


def test_a_models_own_folder_never_holds_its_program(folders: Folders) -> None:
    """A bento for CPUs takes that folder along."""
    stored = save(folders.own, "mine", "1")

    assert {file.name for file in stored.onnx_path.parent.iterdir()} == {
        "model.onnx",
        "labels.json",
        "card.json",
        "model.yaml",
    }


@pytest.mark.parametrize("left_behind", ["model.yaml", "card.json"])
def test_a_version_that_is_not_whole_does_not_count(folders: Folders, left_behind: str) -> None:
    save(folders.further, "model", "1")
    save(folders.further, "model", "2")
    (folders.further / "lightbox-model" / "2" / left_behind).unlink()

    assert folders.version_of("model") == "1"
    shutil.rmtree(folders.further / "lightbox-model" / "1")
    assert folders.version_of("model") is None


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
def test_two_names_never_share_a_tag_name(names: set[str]) -> None:
    first, second = names

    if first.replace("/", "-", 1) != second.replace("/", "-", 1):
        assert bento_name(first) != bento_name(second)


@pytest.mark.parametrize("description", ["", "name: a\nmeta", "creation_time: 1\nmetadata:\n", "- a", "\0"])
def test_a_version_whose_description_is_half_written_is_ignored(folders: Folders, description: str) -> None:
    save(folders.own, "model", "1")
    save(folders.own, "model", "2")
    (folders.own / "lightbox-model" / "2" / "model.yaml").write_text(description)

    assert folders.version_of("model") == "1"


@pytest.mark.parametrize(
    ("file", "replacement"),
    [("card.json", " "), ("card.json", "[]"), ("card.json", "{}"), ("labels.json", "\x00"), ("labels.json", "[1]")],
)
def test_a_damaged_version_is_named_with_what_to_do_and_spares_the_others(
    folders: Folders, file: str, replacement: str
) -> None:
    for version in ("1", "2"):
        save(folders.own, "pets", version)
    path, store = folders.own / "lightbox-pets" / "2" / file, BentoModelStore(folders.own)
    path.write_text(replacement.ljust(path.stat().st_size))
    damaged: list[ModelLoadError] = []

    assert [stored.card.version for stored in store.versions("pets", damaged.append)] == ["1"]
    [error] = damaged
    assert re.search(rf"pets:2 .* damaged: .*{file} .* `lightbox models remove pets:2`, and import it", error.message)
    with pytest.raises(ModelLoadError, match="pets:2 in the model store is damaged"):
        store.find("pets")
    assert store.list_versions("pets") == ("2", "1")
