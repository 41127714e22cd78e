"""Prepared models in BentoML's model store: `bentoml models list` shows them, and bentos include them."""

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
_CARDS = TypeAdapter(ModelCard)
_PARITIES = TypeAdapter(Mapping[str, Parity])


def bento_name(name: str) -> str:
    """Return a model's BentoML tag name: `timm/resnet50.a1_in1k` is `lightbox-timm-resnet50.a1_in1k`.

    Names that BentoML does not allow (over 63 characters, or characters other than lower-case letters, digits, `.`,
    `_` and `-`) are changed and get a digest of the original, so that tag names stay unique.
    """
    plain = name.replace("/", "-", 1)
    safe = f"lightbox-{re.sub(r'[^a-z0-9._-]', '-', plain.lower())}"
    if safe == f"lightbox-{plain}" and safe[-1].isalnum() and len(safe) <= _BENTO_NAME_LIMIT:
        return safe
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{safe[: _BENTO_NAME_LIMIT - 9]}-{digest}"


class BentoModelStore:
    """Keeps prepared models as `lightbox-<name>:<version>`. Safe for several threads and processes at once."""

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
            return _find(name, self._folder()) or (_find(name, self._also) if self._also else None)
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

        `write_model` writes the ONNX file and the torch program to the two given paths. `measure` returns parity by
        engine for the ONNX file at the given path.
        """
        import bentoml

        store = _open_store(self._folder())
        tag = f"{bento_name(card.name)}:{card.version}"
        shutil.rmtree(self._folder() / bento_name(card.name) / card.version, ignore_errors=True)
        metadata: dict[str, Any] = {"name": card.name, "file_format": FILE_FORMAT}
        with bentoml.models.create(tag, metadata=metadata, _model_store=store) as model:
            write_model(Path(model.path_of(_ONNX)), Path(model.path_of(_PROGRAM)))
            described = _CARDS.dump_python(card, mode="json")
            _write_json(model, _LABELS, described.pop("labels"))
            parities = _PARITIES.dump_python(measure(Path(model.path_of(_ONNX))), mode="json")
            _write_json(model, _CARD, {**described, "parity": parities})
            model.info.metadata["file_bytes"] = {
                file_name: Path(model.path_of(file_name)).stat().st_size
                for file_name in (_ONNX, _PROGRAM, _LABELS, _CARD)
            }
        saved = bentoml.models.get(tag, _model_store=store)
        _let_others_read(Path(saved.path))
        return _read(saved)

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

    def _folder(self) -> Path:
        if self._root is not None:
            return self._root
        # BentoML has no public API for its store or for another one; bentoml is pinned.
        from bentoml._internal.configuration.containers import BentoMLContainer

        return Path(BentoMLContainer.model_store.get()._path)


def _open_store(root: Path) -> "ModelStore":
    from bentoml._internal.models.model import ModelStore

    return ModelStore(root)


def _find(name: str, root: Path) -> StoredModel | None:
    """Find the newest version. BentoML's own `latest` would write that name into the store."""
    import bentoml
    from bentoml.exceptions import BentoMLException

    store, found = _open_store(root), list["Model"]()
    try:
        versions = [folder.name for folder in (root / bento_name(name)).iterdir() if folder.is_dir()]
    except FileNotFoundError:
        return None
    for version in versions:
        # BentoML raises BentoMLException for a folder without its YAML: a model that is being stored now.
        with contextlib.suppress(BentoMLException):
            found.append(bentoml.models.get(f"{bento_name(name)}:{version}", _model_store=store))
    whole = [model for model in found if _is_whole(model)]
    return _read(max(whole, key=lambda model: model.info.creation_time)) if whole else None


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


def _read(model: "Model") -> StoredModel:
    described = json.loads(Path(model.path_of(_CARD)).read_text())
    labels = json.loads(Path(model.path_of(_LABELS)).read_text())
    parities = _PARITIES.validate_python(described.pop("parity"))
    return StoredModel(
        card=_CARDS.validate_python({**described, "labels": labels}),
        onnx_path=Path(model.path_of(_ONNX)),
        program_path=Path(model.path_of(_PROGRAM)),
        parities=parities,
    )


def _write_json(model: "Model", file_name: str, content: object) -> None:
    Path(model.path_of(file_name)).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n")
