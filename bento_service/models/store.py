"""Prepared models in BentoML's model store: `bentoml models list` shows them, and bentos include them.

A model's torch program is an entry of its own, which a bento names or leaves out (docs/adr/0029-engine-per-model.md).
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from bento_service.domain.models import ModelCard, Parity, StoredModel
from bento_service.errors import ModelLoadError

if TYPE_CHECKING:
    from bentoml import Model
    from bentoml._internal.models.model import ModelStore

PREPARE_ELSEWHERE = (
    "Prepare it where Lightbox is installed with requirements.txt (`lightbox models prepare`) and name that machine's "
    "model store in LIGHTBOX_MODEL_STORE; in a container, mount it at /models."
)
FILE_FORMAT = 1
"""Increase this when the stored files change, so that stored models are prepared again."""
_BENTO_NAME_LIMIT = 63
"""Characters in a BentoML tag's name, at most (bentoml/_internal/tag.py)."""
_ONNX, _PROGRAM, _LABELS, _CARD = "model.onnx", "model.pt2", "labels.json", "card.json"
_MODEL_PREFIX, _PROGRAM_PREFIX = "lightbox-", "lightbox_torch-"
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
            models = (_find_newest(_whole_versions(bento_name(name), root)) for root in self._roots())
            model = next(filter(None, models), None)
            return _read(model, self._find_program(name, model.tag.version)) if model else None
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

    def _find_program(self, name: str, version: str | None) -> Path | None:
        programs = (
            Path(program.path_of(_PROGRAM))
            for root in self._roots()
            for program in _whole_versions(bento_name(name, _PROGRAM_PREFIX), root)
            if program.tag.version == version
        )
        return next(programs, None)

    def _roots(self) -> tuple[Path, ...]:
        return (self._folder(), self._also) if self._also else (self._folder(),)

    def _folder(self) -> Path:
        if self._root is not None:
            return self._root
        # BentoML has no public API for its store or for another one; bentoml is pinned.
        from bentoml._internal.configuration.containers import BentoMLContainer

        return Path(BentoMLContainer.model_store.get()._path)


def _open_store(root: Path) -> "ModelStore":
    from bentoml._internal.models.model import ModelStore

    return ModelStore(root)


def _find_newest(models: Sequence["Model"]) -> "Model | None":
    """Return what was stored last. BentoML's own `latest` would write that name into the store."""
    return max(models, key=lambda model: model.info.creation_time, default=None)


def _whole_versions(tag_name: str, root: Path) -> list["Model"]:
    """Return the versions of this tag name that are completely stored, in the current file format."""
    import bentoml
    from bentoml.exceptions import BentoMLException

    store, found = _open_store(root), list["Model"]()
    try:
        versions = [folder.name for folder in (root / tag_name).iterdir() if folder.is_dir()]
    except FileNotFoundError:
        return found
    for version in versions:
        # BentoML raises BentoMLException for a folder without its YAML: a model that is being stored now.
        with contextlib.suppress(BentoMLException):
            found.append(bentoml.models.get(f"{tag_name}:{version}", _model_store=store))
    return [model for model in found if _is_whole(model)]


def _let_others_read(folder: Path) -> None:
    """Undo the permissions of BentoML's temporary folder, since containers that mount the store run as another user."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _is_whole(model: "Model") -> bool:
    """Whether each file has its final size: BentoML copies into its store file by file."""
    metadata = model.info.metadata
    sizes = metadata.get("file_bytes")
    if metadata.get("file_format") != FILE_FORMAT or not isinstance(sizes, Mapping):
        return False
    paths = {Path(model.path_of(file_name)): size for file_name, size in sizes.items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def _read(model: "Model", program_path: Path | None) -> StoredModel:
    described = json.loads(Path(model.path_of(_CARD)).read_text())
    labels = json.loads(Path(model.path_of(_LABELS)).read_text())
    parities = _PARITIES.validate_python(described.pop("parity"))
    return StoredModel(
        card=_CARDS.validate_python({**described, "labels": labels}),
        onnx_path=Path(model.path_of(_ONNX)),
        program_path=program_path,
        parities=parities,
    )


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n")
