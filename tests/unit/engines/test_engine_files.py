"""What engines do with the files that they load."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bento_service.domain.models import StoredModel
from bento_service.engines.choice import EngineKind, create_engine
from bento_service.engines.devices import has_cuda_provider
from bento_service.engines.onnxruntime_engine import ONNXRuntimeEngine
from bento_service.engines.torch.engine import TorchEngine
from bento_service.errors import EngineUnavailableError, ModelLoadError
from bento_service.models.store import BentoModelStore


@pytest.fixture(scope="module")
def model(bentoml_home: Path) -> StoredModel:
    return BentoModelStore().load("efficientnet_lite0")


@pytest.mark.parametrize("kind", ["openvino", "onnxruntime", "torch"])
@pytest.mark.parametrize("content", [None, b"", b"neither a graph nor a program"], ids=["missing", "empty", "damaged"])
def test_a_file_that_cannot_be_loaded_is_reported_with_the_models_name(
    kind: EngineKind, content: bytes | None, model: StoredModel, tmp_path: Path
) -> None:
    files = replace(model, onnx_path=tmp_path / "model.onnx", program_path=tmp_path / "model.pt2")
    if content is not None:
        files.onnx_path.write_bytes(content)
        files.require_program().write_bytes(content)

    with pytest.raises(ModelLoadError, match="'efficientnet_lite0'") as refused:
        create_engine(kind, "cpu", files, lanes=1, threads=1)
    # Clients read it.
    assert str(tmp_path) not in refused.value.message
    assert "\n" not in refused.value.message


def test_torch_on_cuda_is_refused_where_there_is_no_gpu(model: StoredModel) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(EngineUnavailableError, match="no CUDA GPU"):
        TorchEngine(model.require_program(), model.card, device="cuda", threads=1)


def test_onnxruntime_on_cuda_is_refused_where_it_was_built_without(model: StoredModel) -> None:
    if has_cuda_provider():
        pytest.skip("this ONNX Runtime was built for CUDA")
    with pytest.raises(EngineUnavailableError, match="Install `onnxruntime-gpu`"):
        ONNXRuntimeEngine(model.onnx_path, model.card, device="cuda", lanes=1, threads=1)
