"""Write a stored model as one ONNX file with metadata, and its card; importing the file makes the same version."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter

from bento_service.domain.models import InputRecipe, ModelCard, Parity, StoredModel
from bento_service.errors import ModelLoadError
from bento_service.preparation.sources import onnx_metadata

if TYPE_CHECKING:
    from onnx import ModelProto

_RECIPES = TypeAdapter(InputRecipe)
_CARDS = TypeAdapter(ModelCard)
_PARITIES = TypeAdapter(Mapping[str, Parity])
_CARD: Final = "card.json"


def export_model(stored: StoredModel, target: Path) -> tuple[Path, Path]:
    """Write `NAME.onnx` and `card.json` to a folder, or the ONNX file to `target` with the card beside it.

    A target that ends in `.onnx` is a file, `pets.onnx`, and its card is `pets.card.json`. Nothing is overwritten, and
    where one of them cannot be written, neither is left.

    Returns:
        The paths of both.

    Raises:
        ModelLoadError: A file exists already, or cannot be written.
        ModuleNotFoundError: The package `onnx` is not installed.
    """
    import onnx

    is_file = target.suffix == ".onnx"
    onnx_path = target if is_file else target / f"{stored.card.name.replace('/', '-')}.onnx"
    card_path = target.with_suffix(f".{_CARD}") if is_file else target / _CARD
    model = onnx.load(stored.onnx_path)
    describe_in(model, stored.card)
    described = _CARDS.dump_python(stored.card, mode="json")
    described["parity"] = _PARITIES.dump_python(stored.parities, mode="json")
    card = json.dumps(described, ensure_ascii=False, indent=2) + "\n"
    try:
        onnx_path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as unfinished:
            for path, content in ((onnx_path, model.SerializeToString()), (card_path, card.encode())):
                with path.open("xb") as file:
                    unfinished.callback(path.unlink)
                    file.write(content)
            unfinished.pop_all()
    except FileExistsError as error:
        raise ModelLoadError(f"{error.filename} exists already; name another file or folder.") from error
    except OSError as error:
        raise ModelLoadError(f"{onnx_path} cannot be written: {error.strerror or error}.") from error
    return onnx_path, card_path


def describe_in(model: "ModelProto", card: ModelCard) -> None:
    """Write labels, recipe, kind of scores, licence and source into a file's `metadata_props`."""
    values = {
        onnx_metadata.LABELS: json.dumps(card.labels, ensure_ascii=False),
        onnx_metadata.RECIPE: _RECIPES.dump_json(card.recipe).decode(),
        onnx_metadata.SCORE_KIND: card.score_kind,
        onnx_metadata.LICENCE: card.licence,
        onnx_metadata.SOURCE: card.source,
    }
    kept = [entry for entry in model.metadata_props if entry.key not in values]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    for key, value in values.items():
        model.metadata_props.add(key=key, value=value)
