"""Writing to the model store, and removing from it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bento_service.errors import ModelLoadError
from bento_service.models.store import BentoModelStore
from tests.unit.models.stored import Folders, describe, read_program, save


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_removed_version_is_gone_with_its_program_and_no_other(folders: Folders) -> None:
    save(folders.own, "pets", "1")
    save(folders.own, "pets", "2")
    save(folders.further, "pets", "2")
    store = BentoModelStore(folders.own, also=folders.further)

    store.remove("pets", "2")

    assert [model.card.version for model in store.versions("pets")] == ["1"]
    assert not list(folders.own.glob("*/2")) and not list(folders.further.glob("*/2"))
    assert read_program(folders.find("pets")) == b"program"


def test_the_second_store_is_never_written(folders: Folders) -> None:
    save(folders.further, "model", "1")
    (folders.further / "lightbox-model" / "latest").unlink()
    before = contents(folders.further)

    assert folders.version_of("model") == "1"
    store = BentoModelStore(folders.own, also=folders.further)
    with store.lock("other"):
        save(folders.own, "other", "1")
    assert contents(folders.further) == before


def test_an_interrupted_write_of_a_program_leaves_the_model_as_it_was(folders: Folders) -> None:
    save(folders.own, "mine", "1", program=None)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BentoModelStore(folders.own).save_program(describe("mine", "1"), fail)
    assert read_program(folders.find("mine")) is None


@pytest.mark.parametrize("home", [None, "", "relative", "~/home", "${PLACE}/home", "/absolute"])
def test_models_are_looked_for_where_bentoml_keeps_them_with_and_without_importing_it(
    home: str | None, tmp_path: Path
) -> None:
    if home == "/absolute":
        home = str(tmp_path / "absolute")
    script = (
        "import sys; from bento_service.models.bento_entries import find_own_root\n"
        "print(find_own_root(), 'bentoml' in sys.modules)\n"
        "import bentoml; print(find_own_root())"
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
