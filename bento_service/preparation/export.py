"""Export a model as ONNX (for OpenVINO and ONNX Runtime) and as a torch program (for PyTorch).

Both come from one `torch.export` and hold the same graph, from uint8 images to probabilities. The torch engine loads a
program rather than a state dict, so that it needs neither timm nor the model's code.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bento_service.domain.graph import INPUT_NAME, OUTPUT_NAME
from bento_service.domain.models import InputRecipe, ScoreKind
from bento_service.errors import ModelLoadError
from bento_service.preparation.features import add_features
from bento_service.preparation.sources.base import LoadedModel

if TYPE_CHECKING:
    import torch
    from torch import nn


def export(model: LoadedModel, *, onnx_path: Path, program_path: Path) -> None:
    """Write a model as ONNX and as a torch program; `domain.graph` says what both take and return.

    The torch program returns probabilities alone.

    Raises:
        ModelLoadError: PyTorch cannot export this model.
    """
    import torch

    with _explained(repr(model.name)), torch.no_grad(), _quietly():
        program, example = _trace(model)
        torch.export.save(program, program_path)
        onnx_program = torch.onnx.export(
            program, example, dynamo=True, verbose=False, input_names=[INPUT_NAME], output_names=[OUTPUT_NAME]
        )
        if onnx_program is None:
            raise ValueError("the ONNX exporter returned nothing")
        onnx_program.save(onnx_path)
        _let_return_features(onnx_path)


def export_plain(module: "nn.Module", shape_chw: tuple[int, int, int], onnx_path: Path) -> None:
    """Write a module as ONNX as it is: from normalised pixels of shape (n, channels, height, width) to logits.

    Raises:
        ModelLoadError: PyTorch cannot export this module.
    """
    import torch

    advice = "Check --size and --arch, or export ONNX where its own code is."
    with _explained("The model", advice), torch.no_grad(), _quietly():
        example = (torch.zeros(2, *shape_chw),)
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(module, example, dynamic_shapes=({0: batch},))
        onnx_program = torch.onnx.export(
            program, example, dynamo=True, verbose=False, input_names=["pixels"], output_names=["logits"]
        )
        if onnx_program is None:
            raise ValueError("the ONNX exporter returned nothing")
        onnx_program.save(onnx_path)


def export_program(model: LoadedModel, program_path: Path) -> None:
    """Write a model as a torch program alone; raises as `export`."""
    import torch

    with _explained(repr(model.name)), torch.no_grad(), _quietly():
        program, _ = _trace(model)
        torch.export.save(program, program_path)


def make_serving_graph(module: "nn.Module", recipe: InputRecipe, score_kind: ScoreKind = "softmax") -> "nn.Module":
    """Wrap normalisation and activation around a model; `domain.graph` says what the result takes and returns."""
    # The class is local because its base class needs torch, which is imported lazily.
    import torch
    from torch import nn

    class ServingGraph(nn.Module):
        mean: torch.Tensor
        std: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.register_buffer("mean", torch.tensor(recipe.mean).view(1, -1, 1, 1))
            self.register_buffer("std", torch.tensor(recipe.std).view(1, -1, 1, 1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            ordered = images.flip(3) if recipe.channels == "bgr" else images
            scaled = ordered.permute(0, 3, 1, 2).to(torch.float32) / 255.0
            logits = self.module((scaled - self.mean) / self.std).to(torch.float32)
            return torch.sigmoid(logits) if score_kind == "independent" else torch.softmax(logits, dim=1)

    return ServingGraph().eval()


def _let_return_features(onnx_path: Path) -> None:
    import onnx

    # Weights of more than 2 GB are in files of their own, which this does not change.
    model = onnx.load(onnx_path, load_external_data=False)
    if add_features(model):
        onnx.save(model, onnx_path)


def _trace(model: LoadedModel) -> "tuple[torch.export.ExportedProgram, tuple[torch.Tensor]]":
    import torch

    # Two images, since torch.export would make a batch size of one a constant.
    example = (torch.zeros(2, *model.recipe.shape_hwc, dtype=torch.uint8),)
    batch = torch.export.Dim("batch", min=1)
    graph = make_serving_graph(model.module, model.recipe, model.score_kind)
    return torch.export.export(graph, example, dynamic_shapes={INPUT_NAME: {0: batch}}), example


@contextlib.contextmanager
def _explained(subject: str, advice: str = "Choose another model.") -> Iterator[None]:
    try:
        yield
    # torch.export and the ONNX exporter raise any exception of the model's code or of a pass over its graph.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ModelLoadError(f"{subject} cannot be exported: {type(error).__name__}: {reason}. {advice}") from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Suppress the exporter's progress lines and deprecation warnings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
