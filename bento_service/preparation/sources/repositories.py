"""Folders of other servers and registries: MLflow's, Triton's, and what Lightbox itself stores."""

import json
import re
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from bento_service.domain.models import ModelCard
from bento_service.preparation.sources.findings import Finding, Findings, ModelFindings
from bento_service.preparation.sources.foreign_files import (
    MAX_YAML_BYTES,
    explained_reading,
    find_inside,
    read_object,
    read_text,
)
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
    with explained_reading(str(folder / MLFLOW)):
        described = yaml.safe_load(read_text(folder / MLFLOW, max_bytes=MAX_YAML_BYTES))
        flavors = dict(described["flavors"])
        # Aliases of YAML make text of any length out of anything else.
        names = [name for name in flavors if isinstance(name, str)]
        data = flavors["onnx"].get("data", "model.onnx") if "onnx" in names else ""
        if not isinstance(data, str):
            raise TypeError("`data` of the flavor `onnx` is no file name")
    if "onnx" not in names:
        raise refuse(folder, f"an MLflow model of the flavors {', '.join(names)}", "torch", "only `onnx` is taken")
    return find_inside(folder, data)


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
    if not config.is_file():
        return ModelFindings()
    with explained_reading(str(config)):
        match = _LABEL_FILE.search(read_text(config))
    if match is None:
        return ModelFindings()
    labels = Finding(read_label_file(find_inside(folder, match[1])), f"{TRITON} label_filename {match[1]}")
    return ModelFindings(facts=Findings(labels=labels))


def read_stored_card(folder: Path) -> ModelFindings:
    """Return what the card of a version in Lightbox's model store says, or nothing if there is none.

    Raises:
        ModelLoadError: It cannot be read.
    """
    if not (folder / _CARD).is_file() or not (folder / _LABELS).is_file():
        return ModelFindings()
    described = read_object(folder / _CARD)
    with explained_reading(str(folder / _CARD)):
        labels = json.loads(read_text(folder / _LABELS))
        card = _CARDS.validate_python({**described, "labels": labels, "parity": None})
    return ModelFindings(
        facts=Findings(
            labels=Finding(card.labels, _CARD),
            activation=Finding(ACTIVATIONS[card.score_kind], _CARD),
            licence=Finding(card.licence, _CARD),
            source=Finding(card.source, _CARD),
        ),
        recipe=findings_of_recipe(card.recipe, _CARD),
    )
