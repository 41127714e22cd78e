"""Prepared models in BentoML's model store, where `bentoml models list` shows them and a bento takes them along."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from bento_service.domain import ModelCard, Parity
from bento_service.models.digest import FILE_FORMAT
from bento_service.models.names import bento_name

if TYPE_CHECKING:
    from bentoml import Model
    from bentoml._internal.models.model import ModelStore

_ONNX, _PROGRAM, _LABELS, _CARD = "model.onnx", "model.pt2", "labels.json", "card.json"
_CARDS = TypeAdapter(ModelCard)
_PARITIES = TypeAdapter(Mapping[str, Parity])


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A prepared model, as files that an engine loads; reading it needs no torch.

    `parities` holds what was measured as the model was prepared, by the name of the engine it was measured with.
    """

    card: ModelCard
    onnx_path: Path
    program_path: Path
    parities: Mapping[str, Parity]

    def card_served_by(self, engine_name: str) -> ModelCard:
        """Return the card with the parity figures of an engine, or with none where it was not measured."""
        return replace(self.card, parity=self.parities.get(engine_name))


class BentoModelStore:
    """Keeps prepared models as `lightbox-<name>:<version>`. Safe for several threads and processes at once."""

    def __init__(self, root: Path | None = None, *, also: Path | None = None) -> None:
        """Choose the store.

        Args:
            root: The store's folder, or None for the one BentoML is set to: `$BENTOML_HOME/models`, or inside a bento
                that bento's own.
            also: Another store's folder, where models are looked for that the first has not; nothing is written there.
        """
        self._root = root
        self._also = also

    def find(self, name: str) -> StoredModel | None:
        """Return the model of this name that was stored last, or None.

        A model of another file format, or one that was not stored to its end, does not count.
        """
        found = _find(name, self._bento_store())
        return found or (_find(name, _open_store(self._also)) if self._also is not None else None)

    def save(
        self,
        card: ModelCard,
        *,
        write_model: Callable[[Path, Path], None],
        measure: Callable[[Path], Mapping[str, Parity]],
    ) -> StoredModel:
        """Store a model, replacing what an interrupted try may have left of the same version. Hold `lock` meanwhile.

        Args:
            card: The model's card; `measure` gives its parity.
            write_model: Writes the ONNX file and the torch program to the two paths given.
            measure: Returns parity by engine for the ONNX file at the path given.
        """
        import bentoml

        store = self._bento_store()
        tag = f"{bento_name(card.name)}:{card.version}"
        shutil.rmtree(Path(store._path) / bento_name(card.name) / card.version, ignore_errors=True)
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
        return _read(bentoml.models.get(tag, _model_store=store))

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Wait until no other process prepares this model, and keep them out."""
        from filelock import FileLock

        folder = Path(self._bento_store()._path)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{bento_name(name)}.lock"):
            yield

    def _bento_store(self) -> "ModelStore":
        # BentoML hands out its store, and takes another, only through these names; bentoml is pinned.
        from bentoml._internal.configuration.containers import BentoMLContainer

        store: ModelStore = BentoMLContainer.model_store.get() if self._root is None else _open_store(self._root)
        return store


def _open_store(root: Path) -> "ModelStore":
    from bentoml._internal.models.model import ModelStore

    return ModelStore(root)


def _find(name: str, store: "ModelStore") -> StoredModel | None:
    import bentoml
    from bentoml.exceptions import BentoMLException

    try:
        # BentoML says BentoMLException for a folder without its YAML: a model that is being stored right now.
        model = bentoml.models.get(f"{bento_name(name)}:latest", _model_store=store)
    except BentoMLException:
        return None
    return _read(model) if _is_whole(model) else None


def _is_whole(model: "Model") -> bool:
    """Tell whether each file has the size it was stored with: BentoML copies into its store file by file."""
    metadata = model.info.metadata
    if metadata.get("file_format") != FILE_FORMAT:
        return False
    sizes = metadata.get("file_bytes")
    if not isinstance(sizes, Mapping):
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
