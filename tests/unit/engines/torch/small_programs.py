"""A small classifier as a torch program: it has all that the large ones have, and takes a second to make."""

from pathlib import Path

import torch
from torch import nn

from bento_service.domain.models import InputRecipe, ModelCard
from bento_service.preparation.export import make_serving_graph

SIDE_PX = 32
CLASSES = 7
RECIPE = InputRecipe(SIDE_PX, SIDE_PX, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CARD = ModelCard("small", "1", tuple(map(str, range(CLASSES))), RECIPE, "here", "none")


class Small(nn.Module):
    """Convolutions with a normalisation each: with and without a bias, depthwise, and one used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, padding="same", groups=8), nn.BatchNorm2d(8), nn.ReLU6())
        self.shared = nn.Conv2d(8, 8, 1)
        self.first_norm = nn.BatchNorm2d(8)
        self.second_norm = nn.BatchNorm2d(8)
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.depthwise(self.stem(images))
        features = features + self.first_norm(self.shared(features))
        features = features + self.second_norm(self.shared(features))
        logits: torch.Tensor = self.classifier(features.mean((2, 3)))
        return logits


def write_small_program(path: Path) -> Path:
    """Write the same program each time, with normalisations that are far from doing nothing."""
    torch.manual_seed(0)
    module = Small()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean):
                assert tensor is not None
                nn.init.normal_(tensor)
            assert layer.running_var is not None
            nn.init.uniform_(layer.running_var, 0.5, 2)
    example = torch.zeros(2, SIDE_PX, SIDE_PX, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        graph = make_serving_graph(module.eval(), RECIPE)
        program = torch.export.export(graph, (example,), dynamic_shapes={"images": {0: batch}})
    torch.export.save(program, path)
    return path
