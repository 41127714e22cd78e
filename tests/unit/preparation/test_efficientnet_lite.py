"""The graphs that are built without PyTorch; `tests/parity/test_bundled_graphs.py` compares their answers."""

import numpy as np
import onnx
import pytest

from bento_service.domain.model_names import BUNDLED_NAMES
from bento_service.domain.models import InputRecipe
from bento_service.errors import ModelLoadError
from bento_service.models.class_head import find_class_head, returns_map
from bento_service.preparation.efficientnet_lite import build_efficientnet_lite
from bento_service.preparation.sources.bundled import build_bundled


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_the_built_graph_is_valid_and_returns_its_last_feature_map(name: str) -> None:
    model = build_bundled(name)
    onnx.checker.check_model(model.graph, full_check=True)
    outputs = model.graph.graph.output
    inferred = onnx.shape_inference.infer_shapes(model.graph).graph.value_info
    shapes = {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in inferred
    }
    side = -(-model.recipe.height_px // 32)

    assert shapes["pooled"] == ["batch", 1280]
    assert shapes["logits"] == ["batch", 1000]
    declared = [[dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in outputs]
    assert declared == [["batch", 1000], ["batch", 1280, side, side]]
    found = find_class_head(model.graph)
    assert found is not None
    assert returns_map(model.graph, found)


def test_weights_of_another_depth_are_refused() -> None:
    recipe = InputRecipe(224, 224, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    weights = {"_conv_stem.weight": np.zeros((32, 3, 3, 3), np.float32)}

    with pytest.raises(ModelLoadError, match=r"The weights of 'm' do not fit its architecture: '_bn0"):
        build_efficientnet_lite("m", weights, recipe, depth=1.0)
