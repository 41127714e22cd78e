"""The graphs that are built without PyTorch, against those of timm's architecture that PyTorch exports."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from bento_service.domain.model_names import BUNDLED_NAMES
from bento_service.engines.openvino_engine import OpenVINOEngine
from bento_service.images.preprocessing import ImageLimits, preprocess
from bento_service.preparation.export import export
from bento_service.preparation.parity import CROPS, make_crops
from bento_service.preparation.sources.base import BuiltModel
from bento_service.preparation.sources.bundled import build_bundled, load_bundled

LIMITS = ImageLimits(max_bytes=100_000_000, max_pixels=100_000_000)


@dataclass(frozen=True)
class Graphs:
    """A bundled model as it is built and as PyTorch exports it, and what both are to classify."""

    model: BuiltModel
    built: Path
    exported: Path
    images: NDArray[np.uint8]


@pytest.fixture(scope="module", params=BUNDLED_NAMES)
def graphs(
    request: pytest.FixtureRequest, photographs: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory
) -> Graphs:
    folder, name = tmp_path_factory.mktemp("graphs"), request.param
    model, built, exported = build_bundled(name), folder / "built.onnx", folder / "exported.onnx"
    onnx.save(model.graph, built)
    export(load_bundled(name), onnx_path=exported, program_path=folder / "model.pt2")
    images = [preprocess(crop, model.recipe, LIMITS).pixels_hwc for crop in make_crops(photographs, CROPS, seed=1)]
    return Graphs(model, built, exported, np.stack(images))


def answer_with_openvino(path: Path, graphs: Graphs) -> NDArray[np.float32]:
    engine = OpenVINOEngine(path, graphs.model.to_card(""), lanes=1, threads=1)
    try:
        return engine.infer(graphs.images)
    finally:
        engine.close()


def answer_with_onnxruntime(path: Path, graphs: Graphs) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    # Batches of any size, the last one smaller.
    batches = (graphs.images[start : start + 7] for start in range(0, len(graphs.images), 7))
    return np.concatenate([session.run(None, {"images": batch})[0] for batch in batches])


def test_the_built_graph_answers_as_the_exported_one(graphs: Graphs) -> None:
    for answer in (answer_with_openvino, answer_with_onnxruntime):
        built, exported = answer(graphs.built, graphs), answer(graphs.exported, graphs)

        assert np.abs(built - exported).max() < 1e-5
        np.testing.assert_allclose(built.sum(axis=1), 1, atol=1e-5)
