"""Run a graph as it came, in f32: the reference of parity. Call it in a confined process only."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe
from bento_service.engines.base import explain_failure
from bento_service.engines.choice import is_installed
from bento_service.engines.devices import refuse_telemetry
from bento_service.errors import ModelLoadError
from bento_service.machine import count_cpus
from bento_service.preparation.inspection import Activation, GraphFacts

if TYPE_CHECKING:
    from onnx import ModelProto

_TYPES: dict[str, type[np.generic]] = {"f32": np.float32, "f16": np.float16, "uint8": np.uint8}


class GraphRun:
    """A graph in ONNX Runtime, or in OpenVINO where that is not installed. `library` names it and its version.

    Methods raise OutOfMemoryError or InferenceFailedError.
    """

    def __init__(self, model: "ModelProto", facts: GraphFacts) -> None:
        self.facts = facts
        self.output_rank = facts.output_rank
        encoded = model.SerializeToString()
        has_onnxruntime = is_installed("onnxruntime")
        self._name = "ONNX Runtime" if has_onnxruntime else "OpenVINO"
        try:
            self.library, self._infer = (_open_onnxruntime if has_onnxruntime else _open_openvino)(encoded, facts)
        # Either library raises its own errors, some of them without a base.
        except Exception as error:
            raise explain_failure(error, library=self._name, images=1) from error

    def score(self, batch_nhwc: NDArray[Any], added: Activation = "none") -> NDArray[np.float32]:
        """Return the scores of images in the graph's value range and order of channels, shape (n, classes).

        The images run together where the batch is free, else in batches of the graph's size, the last one repeated.
        `added` is the activation that the graph lacks, computed here in f64.
        """
        facts = self.facts
        inputs = batch_nhwc if facts.layout == "NHWC" else batch_nhwc.transpose(0, 3, 1, 2)
        inputs = np.ascontiguousarray(inputs, dtype=_TYPES[facts.input_type])
        size = facts.batch or len(inputs)
        answers = []
        for start in range(0, len(inputs), size):
            part = inputs[start : start + size]
            padded = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            try:
                scores = self._infer(padded)
            except Exception as error:
                raise explain_failure(error, library=self._name, images=size) from error
            answers.append(self._flatten(scores, size)[: len(part)])
        return activate(np.concatenate(answers), added)

    def _flatten(self, scores: NDArray[Any], size: int) -> NDArray[np.float64]:
        shape = np.shape(scores)
        # (n, classes), or with sizes of 1 among them.
        if len(shape) < 2 or shape[0] != size or sum(side != 1 for side in shape[1:]) > 1:
            raise ModelLoadError(
                f"The output {self.facts.output_name!r} has the shape {shape} for {size} images; a classifier returns "
                "a score for each class, (n, classes). Detection and segmentation are not served."
            )
        self.output_rank = len(shape)
        return np.asarray(scores, np.float64).reshape(size, -1)


def to_graph_input(pixels_nhwc: NDArray[np.uint8], recipe: InputRecipe, facts: GraphFacts) -> NDArray[Any]:
    """Return pixels as a graph takes them, but for layout and element type: ordered, scaled and normalised, in f64."""
    if facts.is_wrapped:
        return pixels_nhwc
    ordered = pixels_nhwc[..., ::-1] if recipe.channels == "bgr" else pixels_nhwc
    if facts.input_type == "uint8":
        return ordered
    normalised: NDArray[np.float64] = (ordered / 255.0 - np.array(recipe.mean)) / np.array(recipe.std)
    return normalised


def activate(scores: NDArray[np.float64], added: Activation) -> NDArray[np.float32]:
    """Return probabilities of scores."""
    if added == "softmax":
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
    elif added == "sigmoid":
        scores = 1 / (1 + np.exp(-scores))
    return scores.astype(np.float32)


_Opened = tuple[str, Callable[[NDArray[Any]], NDArray[Any]]]


def _open_onnxruntime(encoded: bytes, facts: GraphFacts) -> _Opened:
    refuse_telemetry()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_cpus()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(encoded, options, providers=["CPUExecutionProvider"])

    def infer(batch: NDArray[Any]) -> NDArray[Any]:
        scores: NDArray[Any] = session.run([facts.output_name], {facts.input_name: batch})[0]
        return scores

    return f"ONNX Runtime {onnxruntime.__version__}", infer


def _open_openvino(encoded: bytes, facts: GraphFacts) -> _Opened:
    from bento_service.engines.openvino_engine import share_core

    core = share_core()
    import openvino

    compiled = core.compile_model(core.read_model(encoded), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def infer(batch: NDArray[Any]) -> NDArray[Any]:
        scores: NDArray[Any] = compiled({facts.input_name: batch})[facts.output_name]
        copied: NDArray[Any] = scores.copy()
        return copied

    return f"OpenVINO {openvino.__version__}", infer
