"""Prepared models in BentoML's model store: `bentoml models list` shows them, and bentos include them.

A model's torch program is an entry of its own, which a bento names or leaves out (docs/adr/0029-engine-per-model.md).
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bento_service.domain.model_names import BUNDLED_NAMES, ModelReference, is_preparable
from bento_service.domain.models import ModelCard, Parity, StoredModel
from bento_service.errors import ModelLoadError
from bento_service.models.bento_entries import create_entry, delete_entry, find_own_root, lock_entries
from bento_service.models.stored_files import (
    MODEL_PREFIX,
    ONNX,
    PROGRAM,
    PROGRAM_PREFIX,
    Entry,
    bento_name,
    find_names,
    find_versions,
    read_model,
    write_description,
)

logger = logging.getLogger(__name__)


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
        self._warned: set[str] = set()

    def names(self) -> tuple[str, ...]:
        """Return the names of all stored models, in alphabetical order; raises as `versions`."""
        with self._explained_reading("of the store"):
            return tuple(sorted({name for root in self._roots() for name in find_names(root)}))

    def versions(
        self, name: str, on_damaged: Callable[[ModelLoadError], None] | None = None
    ) -> tuple[StoredModel, ...]:
        """Return each stored version of a model, newest first; none if there is none. Takes milliseconds.

        Models of another file format and incompletely stored ones are ignored. A damaged one is left out: `on_damaged`
        gets the error that names it, which is logged otherwise, once.

        Raises:
            ModelLoadError: A store exists and cannot be read.
        """
        found = []
        with self._explained_reading(repr(name)):
            for entry in self._entries(name):
                try:
                    found.append(self._read(name, entry))
                except ModelLoadError as error:
                    (on_damaged or self._warn)(error)
        return tuple(found)

    def list_versions(self, name: str) -> tuple[str, ...]:
        """Return the versions that `name` or `name:version` means, newest first, damaged ones among them.

        Raises:
            ModelLoadError: There is none; else as `find`.
        """
        reference = _parse(name)
        with self._explained_reading(repr(reference.name)):
            entries = self._find_entries(reference.name, reference.version)
        if not entries:
            raise self._explain_missing(name, None)
        return tuple(entry.version for entry in entries)

    def find(self, name: str, version: str | None = None) -> StoredModel | None:
        """Return a version of a model, or the one that was stored last; None if it is not there.

        Args:
            name: The model's name, or `name:version`.
            version: The first characters of a version.

        Raises:
            ModelLoadError: Several versions begin with these characters; an alias is named; it is damaged; or a store
                exists and cannot be read.
        """
        reference = _parse(name)
        with self._explained_reading(repr(reference.name)):
            entries = self._find_entries(reference.name, version or reference.version)
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
        with create_entry(self._folder(), card, MODEL_PREFIX, has_features=has_features) as folder:
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
        with create_entry(self._folder(), card, PROGRAM_PREFIX) as folder:
            write_program(folder / PROGRAM)

    def remove(self, name: str, version: str) -> None:
        """Delete a version, given in full, with its torch program, from every store that has it, locked meanwhile.

        Raises:
            ModelLoadError: A store cannot be written.
        """
        for root in self._roots():
            kinds = (MODEL_PREFIX, PROGRAM_PREFIX)
            stored = [kind for kind in kinds if (root / bento_name(name, kind) / version).is_dir()]
            if stored:
                with lock_entries(root, name):
                    for kind in stored:
                        delete_entry(root, name, version, kind)

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
        return lock_entries(self._folder(), name)

    def _entries(self, name: str) -> list[Entry]:
        """Return the versions of all roots, newest first; of a version that two have, the first root's."""
        found: dict[str, Entry] = {}
        for root in self._roots():
            for entry in find_versions(bento_name(name), root):
                # `timm-resnet18` and `timm/resnet18` have one tag name.
                if entry.name == name:
                    found.setdefault(entry.version, entry)
        return sorted(found.values(), key=lambda entry: entry.created_at, reverse=True)

    def _find_entries(self, name: str, version: str | None) -> list[Entry]:
        """Return the one version that begins with these characters, or every version, newest first."""
        entries = self._entries(name)
        if version is None:
            return entries
        entries = [entry for entry in entries if entry.version.startswith(version)]
        # A whole version is meant even where it begins a longer one.
        entries = [entry for entry in entries if entry.version == version] or entries
        if len(entries) > 1:
            found = ", ".join(entry.version for entry in entries)
            raise ModelLoadError(
                f"Several versions of {name!r} begin with {version!r}: {found}. Name one of them.", model=name
            )
        return entries

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
        return self._root if self._root is not None else find_own_root()

    def _warn(self, error: ModelLoadError) -> None:
        if error.message not in self._warned:
            self._warned.add(error.message)
            logger.warning("%s", error.message)


def _parse(name: str) -> ModelReference:
    reference = ModelReference.parse(name)
    if reference.alias is not None:
        raise ModelLoadError(
            f"{name!r} names an alias, which only a service knows; in the store, name a version: "
            f"`{reference.name}:VERSION`.",
            model=reference.name,
        )
    return reference


def explain_missing_model(name: str) -> str:
    """Return the end of the sentence about a model that is not stored, with the command that brings it."""
    if is_preparable(name):
        return f"not prepared. Run `lightbox models prepare {name}` first."
    bundled = ", ".join(BUNDLED_NAMES)
    return (
        f"not in the model store. Import it with `lightbox models import SOURCE --name {name}`, name the store that "
        f"has it in LIGHTBOX_MODEL_STORE (in a container, mount it at /models), or choose a bundled model: {bundled}."
    )
