"""Prepared models in BentoML's model store: `bentoml models list` shows them, and bentos include them.

A model's torch program is an entry of its own, which a bento names or leaves out (docs/adr/0029-engine-per-model.md).
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bento_service.domain.model_names import BUNDLED_NAMES, ModelReference, is_preparable
from bento_service.domain.models import ModelCard, Parity, StoredModel
from bento_service.errors import ModelLoadError
from bento_service.models.stored_files import (
    FILE_FORMAT,
    MODEL_PREFIX,
    ONNX,
    PROGRAM,
    PROGRAM_PREFIX,
    Entry,
    bento_name,
    find_names,
    find_versions,
    let_others_read,
    read_model,
    write_description,
)

if TYPE_CHECKING:
    from bentoml._internal.models.model import ModelStore

PREPARE_ELSEWHERE = (
    "Prepare it with `lightbox models prepare` where Lightbox is installed with the extra `torch`, and name that "
    "machine's model store in LIGHTBOX_MODEL_STORE; in a container, mount it at /models."
)


class BentoModelStore:
    """Keeps prepared models as `lightbox-<name>:<version>`, and torch programs as `lightbox_torch-<name>:<version>`.

    A model is named `name`, which is its version that was stored last, or `name:version`, where the version's first
    characters will do. Safe for several threads and processes at once.
    """

    def __init__(self, root: Path | None = None, *, also: Path | None = None) -> None:
        """Choose the store's folder, or None for BentoML's: `$BENTOML_HOME/models`, or a bento's own inside of one.

        `also` is the folder of a second store, whose models are found too; nothing is saved there.
        """
        self._root = root
        self._also = also

    def names(self) -> tuple[str, ...]:
        """Return the names of all stored models, in alphabetical order; raises as `versions`."""
        with self._explained_reading("of the store"):
            return tuple(sorted({name for root in self._roots() for name in find_names(root)}))

    def versions(self, name: str) -> tuple[StoredModel, ...]:
        """Return each stored version of a model, newest first; none if there is none. Takes milliseconds.

        Models of another file format and incompletely stored ones are ignored.

        Raises:
            ModelLoadError: A store exists and cannot be read.
        """
        with self._explained_reading(repr(name)):
            return tuple(self._read(name, entry) for entry in self._entries(name))

    def find(self, name: str, version: str | None = None) -> StoredModel | None:
        """Return a version of a model, or the one that was stored last; None if it is not there.

        Args:
            name: The model's name, or `name:version`.
            version: The first characters of a version.

        Raises:
            ModelLoadError: Several versions begin with these characters; an alias is named; or a store exists and
                cannot be read.
        """
        reference = ModelReference.parse(name)
        if reference.alias is not None:
            raise ModelLoadError(
                f"{name!r} names an alias, which only a service knows; in the store, name a version: "
                f"`{reference.name}:VERSION`.",
                model=reference.name,
            )
        version = version or reference.version
        with self._explained_reading(repr(reference.name)):
            entries = self._entries(reference.name)
            if version is not None:
                entries = [entry for entry in entries if entry.version.startswith(version)]
                # A whole version is meant even where it begins a longer one.
                entries = [entry for entry in entries if entry.version == version] or entries
                if len(entries) > 1:
                    found = ", ".join(entry.version for entry in entries)
                    raise ModelLoadError(
                        f"Several versions of {reference.name!r} begin with {version!r}: {found}. Name one of them.",
                        model=reference.name,
                    )
            return self._read(reference.name, entries[0]) if entries else None

    def find_tag(self, tag: str) -> Path | None:
        """Return the folder of a BentoML model, `name:version` or `name` for the latest; it need not be Lightbox's."""
        name, _, version = tag.partition(":")
        for root in self._roots():
            latest = root / name / "latest"
            if version in {"", "latest"} and latest.is_file():
                version = latest.read_text(encoding="utf-8").strip()
            folder = root / name / version
            if name and version and folder.is_dir() and folder.resolve().is_relative_to(root.resolve()):
                return folder
        return None

    def missing(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the `names`, each as `find` takes it, that are not stored."""
        return tuple(name for name in names if self.find(name) is None)

    def load(self, name: str, version: str | None = None) -> StoredModel:
        """Return a stored model; takes the same as `find`, and raises the same.

        Raises:
            ModelLoadError: It is not stored.
        """
        stored = self.find(name, version)
        if stored is None:
            raise self._explain_missing(name, version)
        return stored

    def save(
        self,
        card: ModelCard,
        *,
        write_model: Callable[[Path, Path], None],
        measure: Callable[[Path], Mapping[str, Parity]],
        has_features: bool = False,
    ) -> StoredModel:
        """Store a model, replacing remains of an interrupted attempt at the same version. Hold `lock` meanwhile.

        `write_model` writes the ONNX file to the first given path, and may write the torch program to the second.
        `measure` returns parity by engine for the ONNX file at the given path. `has_features` says that this file
        returns features.
        """
        with self._create(card, MODEL_PREFIX, has_features=has_features) as folder:
            write_model(folder / ONNX, folder / PROGRAM)
            write_description(folder, card, measure(folder / ONNX))
            if (folder / PROGRAM).exists():
                # Before the model: one that is found without a program has none.
                self.save_program(card, lambda path: shutil.move(folder / PROGRAM, path))
        return self.load(card.name, card.version)

    def save_program(self, card: ModelCard, write_program: Callable[[Path], object]) -> None:
        """Store a torch program for a version of a model, which may be stored already. Hold `lock` meanwhile.

        `write_program` writes it to the given path.
        """
        with self._create(card, PROGRAM_PREFIX) as folder:
            write_program(folder / PROGRAM)

    def remove(self, name: str, version: str) -> None:
        """Delete a version, given in full, with its torch program, from every store that has it, locked meanwhile.

        Raises:
            ModelLoadError: A store cannot be written.
        """
        for root in self._roots():
            names = [bento_name(name, prefix) for prefix in (MODEL_PREFIX, PROGRAM_PREFIX)]
            stored = [tag_name for tag_name in names if (root / tag_name / version).is_dir()]
            if not stored:
                continue
            with _locked(root, name):
                for tag_name in stored:
                    try:
                        # BentoML's way, which also keeps its record of the latest version right.
                        _open_store(root).delete(f"{tag_name}:{version}")
                    except OSError as error:
                        raise ModelLoadError(
                            f"{name}:{version} cannot be removed from the model store {root}: {_explain(error)}.",
                            model=name,
                        ) from error

    def copy_home(self, stored: StoredModel) -> StoredModel:
        """Copy a version that only the second store has into the first, where `bentoml build` looks; return it."""
        tag_name, version = bento_name(stored.card.name), stored.card.version
        root = self._folder()
        home = root / tag_name / version
        if not home.exists():
            # Renamed when it is whole. The name of no tag, so that nobody reads it before.
            copy = root / f".{tag_name}-{version}"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(stored.onnx_path.parent, copy)
            home.parent.mkdir(exist_ok=True)
            copy.rename(home)
        return self.load(stored.card.name, version)

    def lock(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Hold a lock between processes that prepare or import this model.

        Raises:
            ModelLoadError: The store is not writable.
        """
        return _locked(self._folder(), name)

    @contextlib.contextmanager
    def _create(self, card: ModelCard, prefix: str, **recorded: bool) -> Iterator[Path]:
        """Yield a temporary folder, and store what is in it at the end; nothing if an exception leaves the block.

        `recorded` goes into BentoML's record.
        """
        # BentoML reports each model that it stores, over the network: off, unless an operator turns it on.
        os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
        import bentoml

        name, root = bento_name(card.name, prefix), self._folder()
        home, former = root / name / card.version, root / f".{name}-{card.version}.former"
        metadata: dict[str, Any] = {"name": card.name, "file_format": FILE_FORMAT, **recorded}
        tag = f"{name}:{card.version}"
        shutil.rmtree(former, ignore_errors=True)
        try:
            with bentoml.models.create(tag, metadata=metadata, _model_store=_open_store(root)) as model:
                folder = Path(model.path)
                yield folder
                model.info.metadata["file_bytes"] = {file.name: file.stat().st_size for file in folder.iterdir()}
                # BentoML stores it as it leaves this block, where there must be none of this tag.
                if home.exists():
                    home.rename(former)
            let_others_read(home)
        except BaseException as error:
            if former.exists():
                shutil.rmtree(home, ignore_errors=True)
                former.rename(home)
            if not isinstance(error, OSError):
                raise
            raise ModelLoadError(
                f"{card.name}:{card.version} cannot be written to the model store {root}: {_explain(error)}. What was "
                "there is as it was.",
                model=card.name,
            ) from error
        shutil.rmtree(former, ignore_errors=True)

    def _entries(self, name: str) -> list[Entry]:
        """Return the versions of all roots, newest first; of a version that two have, the first root's."""
        found: dict[str, Entry] = {}
        for root in self._roots():
            for entry in find_versions(bento_name(name), root):
                # `timm-resnet18` and `timm/resnet18` have one tag name.
                if entry.name == name:
                    found.setdefault(entry.version, entry)
        return sorted(found.values(), key=lambda entry: entry.created_at, reverse=True)

    def _read(self, name: str, entry: Entry) -> StoredModel:
        programs = (
            program.folder / PROGRAM
            for root in self._roots()
            for program in find_versions(bento_name(name, PROGRAM_PREFIX), root)
            if program.version == entry.version
        )
        return read_model(entry, next(programs, None))

    def _explain_missing(self, name: str, version: str | None) -> ModelLoadError:
        reference = ModelReference.parse(name)
        version = version or reference.version
        stored = [entry.version for entry in self._entries(reference.name)] if version else []
        if stored:
            return ModelLoadError(
                f"The model {reference.name!r} has no version {version!r}; stored: {', '.join(stored)}.",
                model=reference.name,
            )
        return ModelLoadError(f"The model {name!r} is {explain_missing_model(reference.name)}", model=reference.name)

    @contextlib.contextmanager
    def _explained_reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ModelLoadError(
                f"The model {what} cannot be read by the user with the id {os.getuid()}: {error.filename} "
                f"({error.strerror}). Let others read the model store (`chmod -R a+rX`)."
            ) from error

    def _roots(self) -> tuple[Path, ...]:
        return (self._folder(), self._also) if self._also else (self._folder(),)

    def _folder(self) -> Path:
        if self._root is not None:
            return self._root
        home = os.environ.get("BENTOML_HOME", "~/bentoml")
        if "bentoml" not in sys.modules and "${" not in home:  # which BentoML expands
            # As BentoML has it, without the second that importing it takes.
            return Path(home).expanduser() / "models"
        # Within BentoML the store may be a bento's own. There is no public API for it; bentoml is pinned.
        from bentoml._internal.configuration.containers import BentoMLContainer

        return Path(BentoMLContainer.model_store.get()._path)


def explain_missing_model(name: str) -> str:
    """Return the end of the sentence about a model that is not stored, with the command that brings it."""
    if is_preparable(name):
        return f"not prepared. Run `lightbox models prepare {name}` first."
    bundled = ", ".join(BUNDLED_NAMES)
    return (
        f"not in the model store. Import it with `lightbox models import SOURCE --name {name}`, name the store that "
        f"has it in LIGHTBOX_MODEL_STORE (in a container, mount it at /models), or choose a bundled model: {bundled}."
    )


@contextlib.contextmanager
def _locked(root: Path, name: str) -> Iterator[None]:
    from filelock import FileLock

    lock = FileLock(root / f".{bento_name(name)}.lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        denied = f"nothing can be written to the model store {root}: {_explain(error)}."
        if is_preparable(name):
            raise ModelLoadError(
                f"The model {name!r} is not prepared, and {denied} {PREPARE_ELSEWHERE}", model=name
            ) from error
        raise ModelLoadError(
            f"{name!r} cannot be imported or removed: {denied} Name a folder that you may write to in "
            "LIGHTBOX_MODEL_STORE; in a container, mount one at /models, and run it as its owner (`--user`).",
            model=name,
        ) from error
    try:
        yield
    finally:
        lock.release()


def _explain(error: OSError) -> str:
    """Return the reason of an error; one that copies a folder has a list of them."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return error.strerror or str(error)


def _open_store(root: Path) -> "ModelStore":
    from bentoml._internal.models.model import ModelStore

    return ModelStore(root)
