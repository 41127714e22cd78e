"""The model store, its tag names, and a second store that may be mounted read-only."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bento_service.domain.models import InputRecipe, ModelCard, Parity, StoredModel
from bento_service.errors import ModelLoadError
from bento_service.models.store import BentoModelStore
from bento_service.models.stored_files import bento_name

RECIPE = InputRecipe(8, 6, 0.875, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


@dataclass(frozen=True)
class Folders:
    """A store's own folder, and a second one."""

    own: Path
    further: Path

    def find(self, name: str) -> StoredModel | None:
        return BentoModelStore(self.own, also=self.further).find(name)

    def version_of(self, name: str) -> str | None:
        found = self.find(name)
        return found.card.version if found else None


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "own", tmp_path / "further")


def describe(name: str, version: str) -> ModelCard:
    return ModelCard(name=name, version=version, labels=("a",), recipe=RECIPE, source="a test", licence="Apache-2.0")


def save(root: Path, name: str, version: str, program: bytes | None = b"program") -> StoredModel:
    def write_model(onnx_path: Path, program_path: Path) -> None:
        onnx_path.write_bytes(b"onnx")
        if program is not None:
            program_path.write_bytes(program)

    def measure(onnx_path: Path) -> Mapping[str, Parity]:
        return {}

    return BentoModelStore(root).save(describe(name, version), write_model=write_model, measure=measure)


def read_program(stored: StoredModel | None) -> bytes | None:
    assert stored is not None
    return stored.program_path.read_bytes() if stored.program_path else None


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


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


def test_a_removed_version_is_gone_with_its_program_and_no_other(folders: Folders) -> None:
    save(folders.own, "pets", "1")
    save(folders.own, "pets", "2")
    save(folders.further, "pets", "2")
    store = BentoModelStore(folders.own, also=folders.further)

    store.remove("pets", "2")

    assert [model.card.version for model in store.versions("pets")] == ["1"]
    assert not list(folders.own.glob("*/2")) and not list(folders.further.glob("*/2"))
    assert read_program(folders.find("pets")) == b"program"


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


def test_the_version_that_was_stored_last_is_found(folders: Folders) -> None:
    for version in ("b", "c", "a"):
        save(folders.further, "model", version)

    assert folders.version_of("model") == "a"


def test_the_second_store_is_never_written(folders: Folders) -> None:
    save(folders.further, "model", "1")
    (folders.further / "lightbox-model" / "latest").unlink()
    before = contents(folders.further)

    assert folders.version_of("model") == "1"
    store = BentoModelStore(folders.own, also=folders.further)
    with store.lock("other"):
        save(folders.own, "other", "1")
    assert contents(folders.further) == before


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


def test_an_interrupted_write_of_a_program_leaves_the_model_as_it_was(folders: Folders) -> None:
    save(folders.own, "mine", "1", program=None)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BentoModelStore(folders.own).save_program(describe("mine", "1"), fail)
    assert read_program(folders.find("mine")) is None


def test_a_program_of_another_version_or_with_bytes_missing_does_not_count(folders: Folders) -> None:
    save(folders.own, "mine", "1")
    assert read_program(save(folders.own, "mine", "2", program=None)) is None

    (folders.own / "lightbox_torch-mine" / "1" / "model.pt2").write_bytes(b"prog")
    shutil.rmtree(folders.own / "lightbox-mine" / "2")
    assert read_program(folders.find("mine")) is None


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


def test_a_missing_second_store_is_empty_and_is_not_created(folders: Folders) -> None:
    assert folders.find("theirs") is None
    assert not folders.further.exists()


def test_a_second_store_that_cannot_be_read_is_named(folders: Folders) -> None:
    folders.further.write_text("no folder")

    with pytest.raises(ModelLoadError, match=r"'theirs' cannot be read by .*/further/lightbox-theirs \(Not a dir"):
        folders.find("theirs")


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


@pytest.mark.parametrize("home", [None, "", "relative", "~/home", "${PLACE}/home", "/absolute"])
def test_models_are_looked_for_where_bentoml_keeps_them_with_and_without_importing_it(
    home: str | None, tmp_path: Path
) -> None:
    if home == "/absolute":
        home = str(tmp_path / "absolute")
    script = (
        "import sys; from bento_service.models.store import BentoModelStore\n"
        "print(BentoModelStore()._folder(), 'bentoml' in sys.modules)\n"
        "import bentoml; print(BentoModelStore()._folder())"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "HOME": str(tmp_path), "PLACE": str(tmp_path)}
    environment.pop("BENTOML_HOME", None)
    if home is not None:
        environment["BENTOML_HOME"] = home

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )

    before, after = done.stdout.splitlines()
    assert before == f"{after} {home == '${PLACE}/home'}"


def test_a_version_that_cannot_be_stored_again_stays_as_it_was(tmp_path: Path) -> None:
    store = BentoModelStore(tmp_path)
    before = save(tmp_path, "pets", "1")

    def fill_disk(onnx_path: Path, program_path: Path) -> None:
        onnx_path.write_bytes(b"other")
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelLoadError, match=r"pets:1 cannot be written to .*: No space left on device"):
        store.save(describe("pets", "1"), write_model=fill_disk, measure=lambda _: {})

    assert store.load("pets") == before
    assert before.onnx_path.read_bytes() == b"onnx"
    assert save(tmp_path, "pets", "1").card == before.card
    assert not list(tmp_path.glob("*.former"))


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


def test_a_removal_needs_only_the_store_that_has_the_version(folders: Folders) -> None:
    save(folders.further, "pets", "1")
    BentoModelStore(folders.own, also=folders.further).remove("pets", "1")

    assert folders.find("pets") is None
    assert not folders.own.exists()


@pytest.mark.parametrize(("name", "advice"), [("pets", "--user"), ("timm/resnet18", "models prepare")])
def test_a_store_that_cannot_be_written_says_what_to_do(tmp_path: Path, name: str, advice: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ModelLoadError, match=advice), BentoModelStore(tmp_path / "file" / "store").lock(name):
        pass
