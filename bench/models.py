"""The models that are measured, prepared in a store of the benchmark's own, and the same files for the peers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bench.peers.classifier import MODEL_VARIABLE
from bento_service.domain.model_names import BUNDLED_NAMES
from bento_service.domain.models import StoredModel
from bento_service.models.store import BentoModelStore

CACHE = Path(__file__).parents[1] / ".cache"
MODEL = "efficientnet_lite0"
_HOME = CACHE / "bench-bentoml"
_COPIES = tuple(f"{name}_copy" for name in BUNDLED_NAMES)
SIX_MODELS = (*BUNDLED_NAMES, *_COPIES)
"""The three bundled models, and a copy of each under another name: as many files and as much memory as six models."""


def store_environment() -> dict[str, str]:
    """Return what makes Lightbox read the benchmark's store, with everything else of its settings at the default."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTBOX_")}
    return {**inherited, "BENTOML_HOME": str(_HOME), "BENTOML_DO_NOT_TRACK": "True"}


def prepare_models(*, with_program: bool = False) -> StoredModel:
    """Prepare every model that is not yet, and return the one that is measured; `with_program` as `prepare_missing`.

    Raises:
        subprocess.CalledProcessError: A model cannot be prepared; the command has said why.
    """
    _HOME.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bento_service.cli.app", "models", "prepare", *BUNDLED_NAMES]
    if with_program:
        command.append("--torch-program")
    subprocess.run(command, env=store_environment(), check=True, stdout=sys.stderr)  # noqa: S603 - our own command
    store = open_store()
    for name, copy in zip(BUNDLED_NAMES, _COPIES, strict=True):
        if store.find(copy) is None:
            _copy(store, _find(store, name), copy)
    return _find(store, MODEL)


def find_model() -> StoredModel:
    """Return the model that is measured.

    Raises:
        FileNotFoundError: It is not prepared.
    """
    return _find(open_store(), MODEL)


def open_store() -> BentoModelStore:
    """Open the benchmark's store."""
    return BentoModelStore(_HOME / "models")


def peer_environment(model: StoredModel) -> Mapping[str, str]:
    """Write what the peers need to know of a model, and return the variable that tells them where."""
    path = CACHE / "bench-model.json"
    recipe = model.card.recipe
    described = {
        "onnx_path": str(model.onnx_path),
        "labels": model.card.labels,
        "size_px": recipe.height_px,
        "crop_fraction": recipe.crop_fraction,
    }
    path.write_text(json.dumps(described))
    return {MODEL_VARIABLE: str(path)}


def _copy(store: BentoModelStore, original: StoredModel, name: str) -> None:
    def copy_files(onnx_path: Path, program_path: Path) -> None:
        shutil.copy(original.onnx_path, onnx_path)
        if original.program_path is not None:
            shutil.copy(original.program_path, program_path)

    card = replace(original.card, name=name, parity=None)
    store.save(card, write_model=copy_files, measure=lambda _: original.parities)


def _find(store: BentoModelStore, name: str) -> StoredModel:
    stored = store.find(name)
    if stored is None:
        raise FileNotFoundError(
            f"The model {name!r} was prepared and is not in {_HOME}. Remove that folder, try again."
        )
    return stored
