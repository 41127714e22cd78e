"""Turn a model into the files that engines run: ONNX for OpenVINO, a torch program for PyTorch.

Both come from one `torch.export`, so they hold the same graph: uint8 images in, probabilities out. A torch program
rather than a state dict, so that the torch engine needs neither timm nor the code of a model to run it.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bento_service.domain.models import InputRecipe
from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.base import LoadedModel

if TYPE_CHECKING:
    import torch
    from torch import nn

INPUT_NAME = "images"
OUTPUT_NAME = "probabilities"


def export(model: LoadedModel, *, onnx_path: Path, program_path: Path) -> None:
    """Write a model as ONNX and as a torch program.

    Both take `images`, uint8 RGB of shape (n, height, width, 3) with any n >= 1, and return `probabilities`, float32
    of shape (n, classes).

    Raises:
        ModelLoadError: PyTorch cannot export this model.
    """
    import torch

    graph = make_serving_graph(model.module, model.recipe)
    # Two images, since torch.export takes a batch of one for a constant.
    example = torch.zeros(2, model.recipe.height_px, model.recipe.width_px, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    try:
        with torch.no_grad(), _quietly():
            program = torch.export.export(graph, (example,), dynamic_shapes={INPUT_NAME: {0: batch}})
            torch.export.save(program, program_path)
            _write_onnx(program, example, onnx_path)
    # torch.export and the ONNX exporter raise whatever the model's own code or a pass over its graph raises.
    except Exception as error:
        raise ModelLoadError(
            f"{model.name!r} cannot be exported: {type(error).__name__}: {error}. Choose another model."
        ) from error


def make_serving_graph(module: "nn.Module", recipe: InputRecipe) -> "nn.Module":
    """Wrap a model so that it takes uint8 RGB of shape (n, height, width, 3) and returns softmax probabilities.

    Pixels go up as bytes, a quarter of f32, and are scaled and normalised where the model runs.
    """
    # A class in a function, because a class that inherits from a torch module needs torch to be defined.
    import torch
    from torch import nn

    class ServingGraph(nn.Module):
        mean: torch.Tensor
        std: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.register_buffer("mean", torch.tensor(recipe.mean).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor(recipe.std).view(1, 3, 1, 1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            scaled = images.permute(0, 3, 1, 2).to(torch.float32) / 255.0
            logits = self.module((scaled - self.mean) / self.std)
            return torch.softmax(logits.to(torch.float32), dim=1)

    return ServingGraph().eval()


def _write_onnx(program: "torch.export.ExportedProgram", example: "torch.Tensor", path: Path) -> None:
    import torch

    onnx_program = torch.onnx.export(
        program, (example,), dynamo=True, verbose=False, input_names=[INPUT_NAME], output_names=[OUTPUT_NAME]
    )
    if onnx_program is None:
        raise ValueError("the ONNX exporter returned nothing")
    onnx_program.save(path)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporter's progress lines and deprecation notices from the console."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
