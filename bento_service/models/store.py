"""Prepared models in BentoML's model store: `bentoml models list` shows them, and bentos include them.

A model's torch program is an entry of its own, which a bento names or leaves out (docs/adr/0029-engine-per-model.md).
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import TypeAdapter

from bento_service.domain.models import ModelCard, Parity, StoredModel
from bento_service.errors import ModelLoadError

if TYPE_CHECKING:
    from bentoml._internal.models.model import ModelStore

PREPARE_ELSEWHERE = (
    "Prepare it with `lightbox models prepare` where Lightbox is installed with the extra `torch`, and name that "
    "machine's model store in LIGHTBOX_MODEL_STORE; in a container, mount it at /models."
)
FILE_FORMAT = 2
"""Increase this when the stored files change, so that stored models are prepared again."""
_BENTO_NAME_LIMIT = 63
"""Characters in a BentoML tag's name, at most (bentoml/_internal/tag.py)."""
_ONNX, _PROGRAM, _LABELS, _CARD = "model.onnx", "model.pt2", "labels.json", "card.json"
_MODEL_PREFIX, _PROGRAM_PREFIX = "lightbox-", "lightbox_torch-"
_BENTO_YAML = "model.yaml"
"""BentoML's own file in each version (bentoml/_internal/models/model.py). Read here, as importing BentoML takes 1 s."""
_CARDS = TypeAdapter(ModelCard)
_PARITIES = TypeAdapter(Mapping[str, Parity])


def bento_name(name: str, prefix: str = _MODEL_PREFIX) -> str:
    """Return a model's BentoML tag name: `timm/resnet50.a1_in1k` is `lightbox-timm-resnet50.a1_in1k`.

    Its torch program has the prefix `lightbox_torch-` instead.

    Names that BentoML does not allow (over 63 characters, or characters other than lower-case letters, digits, `.`,
    `_` and `-`) are changed and get a digest of the original, so that tag names stay unique.
    """
    plain = name.replace("/", "-", 1)
    safe = f"{prefix}{re.sub(r'[^a-z0-9._-]', '-', plain.lower())}"
    if safe == f"{prefix}{plain}" and safe[-1].isalnum() and len(safe) <= _BENTO_NAME_LIMIT:
        return safe
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{safe[: _BENTO_NAME_LIMIT - 9]}-{digest}"


class BentoModelStore:
    """Keeps prepared models as `lightbox-<name>:<version>`, and torch programs as `lightbox_torch-<name>:<version>`.

    Safe for several threads and processes at once.
    """

    def __init__(self, root: Path | None = None, *, also: Path | None = None) -> None:
        """Choose the store's folder, or None for BentoML's: `$BENTOML_HOME/models`, or a bento's own inside of one.

        `also` is the folder of a second store for models that the first lacks; nothing is written there.
        """
        self._root = root
        self._also = also

    def find(self, name: str) -> StoredModel | None:
        """Return the model of this name that was stored last, or None. Takes milliseconds.

        Models of another file format and incompletely stored ones are ignored.

        Raises:
            ModelLoadError: A store exists and cannot be read.
        """
        try:
            found = (_find_newest(_whole_versions(bento_name(name), root)) for root in self._roots())
            entry = next(filter(None, found), None)
            return _read(entry, self._find_program(name, entry.folder.name)) if entry else None
        except OSError as error:
            raise ModelLoadError(
                f"The model {name!r} cannot be read by the user with the id {os.getuid()}: {error.filename} "
                f"({error.strerror}). Let others read the model store (`chmod -R a+rX`).",
                model=name,
            ) from error

    def missing(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the `names` that are not prepared."""
        return tuple(name for name in names if self.find(name) is None)

    def load(self, name: str) -> StoredModel:
        """Return a prepared model.

        Raises:
            ModelLoadError: It is not prepared.
        """
        stored = self.find(name)
        if stored is None:
            raise ModelLoadError(
                f"The model {name!r} is not prepared. Run `lightbox models prepare {name}` first.", model=name
            )
        return stored

    def save(
        self,
        card: ModelCard,
        *,
        write_model: Callable[[Path, Path], None],
        measure: Callable[[Path], Mapping[str, Parity]],
    ) -> StoredModel:
        """Store a model, replacing remains of an interrupted attempt at the same version. Hold `lock` meanwhile.

        `write_model` writes the ONNX file to the first given path, and may write the torch program to the second.
        `measure` returns parity by engine for the ONNX file at the given path.
        """
        with self._create(card, _MODEL_PREFIX) as folder:
            write_model(folder / _ONNX, folder / _PROGRAM)
            described = _CARDS.dump_python(card, mode="json")
            _write_json(folder / _LABELS, described.pop("labels"))
            parities = _PARITIES.dump_python(measure(folder / _ONNX), mode="json")
            _write_json(folder / _CARD, {**described, "parity": parities})
            if (folder / _PROGRAM).exists():
                # Before the model: one that is found without a program has none.
                self.save_program(card, lambda path: shutil.move(folder / _PROGRAM, path))
        return self.load(card.name)

    def save_program(self, card: ModelCard, write_program: Callable[[Path], object]) -> None:
        """Store a torch program for a version of a model, which may be stored already. Hold `lock` meanwhile.

        `write_program` writes it to the given path.
        """
        with self._create(card, _PROGRAM_PREFIX) as folder:
            write_program(folder / _PROGRAM)

    @contextlib.contextmanager
    def _create(self, card: ModelCard, prefix: str) -> Iterator[Path]:
        """Yield a temporary folder, and store what is in it at the end; nothing if an exception leaves the block."""
        # BentoML reports each model that it stores, over the network: off, unless an operator turns it on.
        os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
        import bentoml

        name, root = bento_name(card.name, prefix), self._folder()
        shutil.rmtree(root / name / card.version, ignore_errors=True)
        metadata: dict[str, Any] = {"name": card.name, "file_format": FILE_FORMAT}
        tag = f"{name}:{card.version}"
        with bentoml.models.create(tag, metadata=metadata, _model_store=_open_store(root)) as model:
            folder = Path(model.path)
            yield folder
            model.info.metadata["file_bytes"] = {file.name: file.stat().st_size for file in folder.iterdir()}
        _let_others_read(root / name / card.version)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock between processes that prepare this model.

        Raises:
            ModelLoadError: The store is not writable.
        """
        from filelock import FileLock

        folder = self._folder()
        lock = FileLock(folder / f".{bento_name(name)}.lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise ModelLoadError(
                f"The model {name!r} is not prepared, and nothing can be written to the model store {folder}: "
                f"{error.strerror or error}. {PREPARE_ELSEWHERE}",
                model=name,
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _find_program(self, name: str, version: str) -> Path | None:
        programs = (
            program.folder / _PROGRAM
            for root in self._roots()
            for program in _whole_versions(bento_name(name, _PROGRAM_PREFIX), root)
            if program.folder.name == version
        )
        return next(programs, None)

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


def _open_store(root: Path) -> "ModelStore":
    from bentoml._internal.models.model import ModelStore

    return ModelStore(root)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A version in the store: its folder, and what BentoML recorded of it."""

    folder: Path
    created_at: str
    metadata: Mapping[str, Any]

    @property
    def is_whole(self) -> bool:
        """Whether each file has its final size: BentoML copies into its store file by file."""
        sizes = self.metadata.get("file_bytes")
        if self.metadata.get("file_format") != FILE_FORMAT or not isinstance(sizes, Mapping):
            return False
        paths = {self.folder / file_name: size for file_name, size in sizes.items()}
        return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def _find_newest(entries: Sequence[_Entry]) -> _Entry | None:
    """Return what was stored last. BentoML's own `latest` would write that name into the store."""
    return max(entries, key=lambda entry: entry.created_at, default=None)


def _whole_versions(tag_name: str, root: Path) -> list[_Entry]:
    """Return the versions of this tag name that are completely stored, in the current file format."""
    entries = list[_Entry]()
    try:
        versions = [folder for folder in (root / tag_name).iterdir() if folder.is_dir()]
    except FileNotFoundError:
        return entries
    for folder in versions:
        # Without its YAML, or with a part of it, it is being stored now.
        with contextlib.suppress(FileNotFoundError, yaml.YAMLError, TypeError, KeyError, ValueError):
            info = yaml.safe_load((folder / _BENTO_YAML).read_bytes())
            entries.append(_Entry(folder, str(info["creation_time"]), dict(info["metadata"])))
    return [entry for entry in entries if entry.is_whole]


def _let_others_read(folder: Path) -> None:
    """Undo the permissions of BentoML's temporary folder, since containers that mount the store run as another user."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _read(entry: _Entry, program_path: Path | None) -> StoredModel:
    described = json.loads((entry.folder / _CARD).read_text())
    labels = json.loads((entry.folder / _LABELS).read_text())
    parities = _PARITIES.validate_python(described.pop("parity"))
    return StoredModel(
        card=_CARDS.validate_python({**described, "labels": labels}),
        onnx_path=entry.folder / _ONNX,
        program_path=program_path,
        parities=parities,
    )


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n")
