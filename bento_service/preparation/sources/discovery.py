"""Find out what a source is: a file, a folder or a tag, by its content. Nothing of it runs here."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.findings import NOTHING, Finding, Findings, ModelFindings
from bento_service.preparation.sources.hugging_face import CONFIG, read_config, read_folder
from bento_service.preparation.sources.label_files import find_label_file
from bento_service.preparation.sources.refusals import refuse, refuse_foreign_file, refuse_foreign_folder
from bento_service.preparation.sources.repositories import (
    MLFLOW,
    find_mlflow_onnx,
    find_triton_onnx,
    read_stored_card,
    read_triton_labels,
)
from bento_service.preparation.sources.timm_config import is_timm_config

WEIGHT_SUFFIXES: Final = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
TIMM_WEIGHTS: Final = ("model.safetensors", "pytorch_model.bin")
_ONNX_OF_HUGGING_FACE: Final = ("model.onnx", "onnx/model.onnx")
_TAKEN = (
    "Taken are an ONNX file or a folder with one, a timm or Hugging Face folder, MLflow's and Triton's folders, a "
    "state dict or safetensors with --arch, Lightbox's export, and a BentoML tag."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxSource:
    """An ONNX file, and the facts found in files of its folder. `path` may be a folder that has external data too."""

    path: Path
    description: str
    found: ModelFindings = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class TimmFolder:
    """A folder that `timm.create_model("local-dir:…")` loads."""

    path: Path
    description: str
    found: ModelFindings


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformersFolder:
    """A folder that transformers loads without code of the folder's own."""

    path: Path
    description: str
    found: ModelFindings


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A file of weights without an architecture."""

    path: Path
    description: str
    found: ModelFindings = NOTHING


Source = OnnxSource | TimmFolder | TransformersFolder | Weights


def find_source(path: Path, *, has_arch: bool = False) -> Source:
    """Return what a file or folder is. With `has_arch`, a folder's file of weights is taken, whatever lies beside it.

    Raises:
        ModelLoadError: There is no such file; or it is of a format that is not taken: the message says how to export
            ONNX from it.
    """
    if not path.exists():
        raise ModelLoadError(f"There is no file, folder or BentoML tag {str(path)!r}. {_TAKEN}")
    return _find_in_folder(path, has_arch=has_arch) if path.is_dir() else _find_file(path)


def _find_file(path: Path) -> Source:
    if not path.is_file():
        raise ModelLoadError(f"{path} is no file. {_TAKEN}")
    if path.stat().st_size == 0:
        raise ModelLoadError(f"{path} is empty.")
    refuse_foreign_file(path)
    if is_safetensors(path) or path.suffix in WEIGHT_SUFFIXES:
        return Weights(path=path, description=f"the weights {path.name}")
    if path.suffix == ".onnx" or _may_be_onnx(path):
        return OnnxSource(path=path, description=f"the ONNX file {path.name}")
    raise ModelLoadError(f"{path} is of no format that Lightbox knows. {_TAKEN}")


def _find_in_folder(folder: Path, *, has_arch: bool) -> Source:
    refuse_foreign_folder(folder)
    if has_arch:
        return _find_weights(folder)
    if (folder / MLFLOW).is_file():
        return _onnx(find_mlflow_onnx(folder), f"the MLflow model {folder.name}", _read_labels(folder))
    if onnx_path := find_triton_onnx(folder):
        found = read_triton_labels(folder).or_else(_read_labels(folder))
        return _onnx(onnx_path, f"version {onnx_path.parent.name} of Triton's {folder.name}", found)
    config = read_config(folder)
    if config:
        return _find_hugging_face(folder)
    found = read_stored_card(folder).or_else(_read_labels(folder))
    files = sorted(folder.glob("*.onnx")) or sorted(folder.glob("*/*.onnx"))
    if len(files) == 1:
        return _onnx(files[0], f"the ONNX file {files[0].name} in {folder.name}", found)
    if files:
        raise ModelLoadError(f"{folder} has several ONNX files: {_names(files, folder)}. Import one of them.")
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size:
            refuse_foreign_file(path)
    weights = _weight_files(folder)
    if weights:
        return _find_weights(folder)
    raise ModelLoadError(f"{folder} has no model that Lightbox knows. {_TAKEN}")


def _find_hugging_face(folder: Path) -> Source:
    config = read_config(folder)
    found = read_folder(folder).or_else(_read_labels(folder))
    for name in _ONNX_OF_HUGGING_FACE:
        if (folder / name).is_file():
            return _onnx(folder / name, f"{name} of the folder {folder.name}", found)
    if "auto_map" in config:
        raise refuse(folder, "a Hugging Face folder with code of its own (trust_remote_code)", "transformers")
    if is_timm_config(config):
        weights = next((folder / name for name in TIMM_WEIGHTS if (folder / name).is_file()), None)
        if weights is None:
            raise ModelLoadError(f"{folder} has timm's {CONFIG} and no weights; it takes {' or '.join(TIMM_WEIGHTS)}.")
        refuse_foreign_file(weights)
        return TimmFolder(path=folder, description=f"timm {config['architecture']} in {folder.name}", found=found)
    architectures = config.get("architectures")
    kind = str(architectures[0]) if isinstance(architectures, list) and architectures else "of no architecture"
    if not kind.endswith("ForImageClassification"):
        raise ModelLoadError(f"{folder} is {kind} by its {CONFIG}; Lightbox serves image classifiers.")
    if not (folder / "model.safetensors").is_file():
        raise ModelLoadError(
            f"{folder} has neither model.onnx nor model.safetensors, and pickled weights are not read."
        )
    return TransformersFolder(path=folder, description=f"{kind} in {folder.name}", found=found)


def _find_weights(folder: Path) -> Source:
    files = _weight_files(folder)
    if len(files) != 1:
        raise ModelLoadError(
            f"{folder} has {len(files)} files of weights: {_names(files, folder)}. Import one of them."
        )
    source = _find_file(files[0])
    return replace(source, found=source.found.or_else(read_folder(folder)).or_else(_read_labels(folder)))


def _onnx(path: Path, description: str, found: ModelFindings) -> OnnxSource:
    if path.is_file():
        refuse_foreign_file(path)
    return OnnxSource(path=path, description=description, found=found)


def _read_labels(folder: Path) -> ModelFindings:
    labels: Finding[tuple[str, ...]] | None = find_label_file(folder)
    return ModelFindings(facts=Findings(labels=labels))


def _weight_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES and path.is_file())


def _names(files: Iterable[Path], folder: Path) -> str:
    return ", ".join(str(file.relative_to(folder)) for file in files) or "none"


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins as safetensors do: with the length of a JSON header, and its brace."""
    with path.open("rb") as file:
        start = file.read(9)
    header_bytes = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 2 <= header_bytes < path.stat().st_size


def _may_be_onnx(path: Path) -> bool:
    """Return whether a file begins as ONNX does: with its IR version, the first field of the message."""
    with path.open("rb") as file:
        start = file.read(2)
    return len(start) == 2 and start[0] == 0x08 and 1 <= start[1] <= 32
