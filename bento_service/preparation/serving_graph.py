"""The graph that is served: a model with its normalisation before and its softmax after it."""

from typing import TYPE_CHECKING

from bento_service.domain.models import InputRecipe

if TYPE_CHECKING:
    from torch import nn


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
