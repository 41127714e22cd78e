"""Folders of other servers and registries: MLflow's, Triton's, and what Lightbox itself stores."""

import json
import re
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from bento_service.domain.models import ModelCard
from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.findings import Finding, Findings, ModelFindings
from bento_service.preparation.sources.label_files import read_label_file
from bento_service.preparation.sources.onnx_metadata import ACTIVATIONS, findings_of_recipe
from bento_service.preparation.sources.refusals import refuse

MLFLOW, TRITON = "MLmodel", "config.pbtxt"
_CARD, _LABELS = "card.json", "labels.json"
_CARDS = TypeAdapter(ModelCard)
_LABEL_FILE = re.compile(r'label_filename\s*:\s*"([^"]+)"')


def find_mlflow_onnx(folder: Path) -> Path:
    """Return the ONNX file that an `MLmodel` names.

    Raises:
        ModelLoadError: It names none.
    """
    try:
        described = yaml.safe_load((folder / MLFLOW).read_text(encoding="utf-8"))
        flavors = dict(described["flavors"])
    except (OSError, yaml.YAMLError, TypeError, LookupError, ValueError) as error:
        raise ModelLoadError(f"{folder / MLFLOW} cannot be read: {error}.") from error
    if "onnx" not in flavors:
        raise refuse(folder, f"an MLflow model of the flavors {', '.join(flavors)}", "torch", "only `onnx` is taken")
    return _inside(folder, str(flavors["onnx"].get("data", "model.onnx")))


def find_triton_onnx(folder: Path) -> Path | None:
    """Return the `model.onnx` of the highest version in a folder of Triton's model repository; None if it is none."""
    numbered = [path for path in folder.iterdir() if path.name.isdigit() and (path / "model.onnx").is_file()]
    newest = max(numbered, key=lambda path: int(path.name), default=None)
    return newest / "model.onnx" if newest else None


def read_triton_labels(folder: Path) -> ModelFindings:
    """Return the labels of the file that a `config.pbtxt` names as `label_filename`.

    Raises:
        ModelLoadError: That file cannot be read.
    """
    config = folder / TRITON
    match = _LABEL_FILE.search(config.read_text(encoding="utf-8", errors="replace")) if config.is_file() else None
    if match is None:
        return ModelFindings()
    labels = Finding(read_label_file(_inside(folder, match[1])), f"{TRITON} label_filename {match[1]}")
    return ModelFindings(facts=Findings(labels=labels))


def read_stored_card(folder: Path) -> ModelFindings:
    """Return what the card of a version in Lightbox's model store says, or nothing if there is none.

    Raises:
        ModelLoadError: It cannot be read.
    """
    if not (folder / _CARD).is_file() or not (folder / _LABELS).is_file():
        return ModelFindings()
    try:
        described = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        labels = json.loads((folder / _LABELS).read_text(encoding="utf-8"))
        card = _CARDS.validate_python({**described, "labels": labels, "parity": None})
    except (OSError, ValueError, TypeError, ValidationError) as error:
        raise ModelLoadError(f"{folder / _CARD} cannot be read: {error}.") from error
    return ModelFindings(
        facts=Findings(
            labels=Finding(card.labels, _CARD),
            activation=Finding(ACTIVATIONS[card.score_kind], _CARD),
            licence=Finding(card.licence, _CARD),
            source=Finding(card.source, _CARD),
        ),
        recipe=findings_of_recipe(card.recipe, _CARD),
    )


def _inside(folder: Path, name: str) -> Path:
    """Return a file that a folder's description names; one outside of the folder is refused."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ModelLoadError(f"{folder} names the file {name!r}, which is outside of it.")
    if path.is_dir():
        return path
    if not path.is_file():
        raise ModelLoadError(f"{folder} names the file {name!r}, which it does not have.")
    return path
