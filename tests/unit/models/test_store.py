"""The model store finds versions, and a second store may be mounted read-only."""

import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from bento_service.errors import ModelLoadError
from bento_service.models.store import BentoModelStore
from tests.unit.models.stored import Folders, describe, read_program, save


def test_the_second_store_has_what_the_first_lacks(folders: Folders) -> None:
    save(folders.own, "mine", "1")
    save(folders.further, "theirs", "2")

    assert folders.version_of("theirs") == "2"
    assert folders.find("nobodys") is None


def test_the_newest_version_of_both_stores_answers_to_the_bare_name(folders: Folders) -> None:
    for root, version in ((folders.further, "b"), (folders.own, "a"), (folders.further, "c")):
        save(root, "mine", version)
    save(folders.own, "another", "1")
    store = BentoModelStore(folders.own, also=folders.further)

    stored = store.versions("mine")

    assert [model.card.version for model in stored] == ["c", "a", "b"]
    assert all(newer.stored_at > older.stored_at for newer, older in pairwise(stored))  # type: ignore[operator]
    assert folders.version_of("mine") == "c"
    assert store.names() == ("another", "mine")
    assert store.versions("nobodys") == ()


def test_the_first_characters_name_a_version_if_they_are_no_others(folders: Folders) -> None:
    for version in ("ab12", "ab34", "ab1"):
        save(folders.own, "pets", version)
    store = BentoModelStore(folders.own)

    assert store.load("pets", "ab3").card.version == "ab34"
    assert store.load("pets:ab3").card.version == "ab34"
    assert store.load("pets:ab1").card.version == "ab1"  # whole, although it begins another
    with pytest.raises(ModelLoadError, match=r"begin with 'ab': ab1, ab34, ab12\. Name one of them"):
        store.load("pets:ab")
    with pytest.raises(ModelLoadError, match="'pets' has no version 'cd'; stored: ab1, ab34, ab12"):
        store.load("pets:cd")
    assert store.missing(["pets:ab3", "pets:cd", "dogs"]) == ("pets:cd", "dogs")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("timm/resnet50", "not prepared. Run `lightbox models prepare timm/resnet50` first."),
        (
            "pets:ab",
            "not in the model store. Import it with `lightbox models import SOURCE --name pets`, name the store",
        ),
    ],
)
def test_a_missing_models_error_says_how_it_comes(folders: Folders, name: str, advice: str) -> None:
    with pytest.raises(ModelLoadError) as missing:
        BentoModelStore(folders.own).load(name)

    assert missing.value.message.startswith(f"The model {name!r} is {advice}")


def test_the_version_that_was_stored_last_is_found(folders: Folders) -> None:
    for version in ("b", "c", "a"):
        save(folders.further, "model", version)

    assert folders.version_of("model") == "a"


def test_a_model_is_stored_with_or_without_a_torch_program(folders: Folders) -> None:
    assert read_program(save(folders.own, "with", "1")) == b"program"
    assert read_program(save(folders.own, "without", "1", program=None)) is None
    assert read_program(folders.find("with")) == b"program"


def test_a_program_is_added_to_a_model_of_either_store(folders: Folders) -> None:
    save(folders.own, "mine", "1", program=None)
    save(folders.further, "theirs", "1", program=None)
    store = BentoModelStore(folders.own, also=folders.further)

    for name in ("mine", "theirs"):
        store.save_program(describe(name, "1"), lambda path: path.write_bytes(b"later"))

    assert read_program(folders.find("mine")) == b"later"
    assert read_program(folders.find("theirs")) == b"later"


def test_a_program_of_another_version_or_with_bytes_missing_does_not_count(folders: Folders) -> None:
    save(folders.own, "mine", "1")
    assert read_program(save(folders.own, "mine", "2", program=None)) is None

    (folders.own / "lightbox_torch-mine" / "1" / "model.pt2").write_bytes(b"prog")
    shutil.rmtree(folders.own / "lightbox-mine" / "2")
    assert read_program(folders.find("mine")) is None


def test_a_missing_second_store_is_empty_and_is_not_created(folders: Folders) -> None:
    assert folders.find("theirs") is None
    assert not folders.further.exists()


def test_a_second_store_that_cannot_be_read_is_named(folders: Folders) -> None:
    folders.further.write_text("no folder")

    with pytest.raises(ModelLoadError, match=r"'theirs' cannot be read by .*/further/lightbox-theirs \(Not a dir"):
        folders.find("theirs")


def test_two_names_with_one_tag_name_are_two_models(tmp_path: Path) -> None:
    store = BentoModelStore(tmp_path)
    save(tmp_path, "timm-resnet18", "1")

    assert store.find("timm/resnet18") is None
    save(tmp_path, "timm/resnet18", "2")

    assert [store.load(name).card.version for name in ("timm-resnet18", "timm/resnet18")] == ["1", "2"]
    assert store.names() == ("timm-resnet18", "timm/resnet18")


def test_an_alias_is_no_name_in_the_store(tmp_path: Path) -> None:
    save(tmp_path, "pets", "1")

    with pytest.raises(ModelLoadError, match="'pets@champion' names an alias, which only a service knows"):
        BentoModelStore(tmp_path).load("pets@champion")
