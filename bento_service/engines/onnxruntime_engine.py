"""ONNX Runtime in f32, on CPUs and CUDA GPUs."""

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.graph import FEATURES_NAME
from bento_service.domain.models import ModelCard, Parity
from bento_service.domain.runner import EngineMode
from bento_service.engines.base import describe_load_error, explain_failure, explain_no_features
from bento_service.engines.devices import CUDA_PROVIDER, describe_cpu, describe_gpu, has_cuda_provider, refuse_telemetry
from bento_service.errors import EngineUnavailableError, InferenceFailedError, ModelLoadError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_CUDA_OPTIONS = {
    "use_tf32": "0",  # 10 bits of mantissa are not f32
    "cudnn_conv_algo_search": "HEURISTIC",  # the default tries every algorithm for each new batch size
    "arena_extend_strategy": "kSameAsRequested",  # the default doubles, and may fail with half of the card free
}


class ONNXRuntimeEngine:
    """Runs an ONNX file with any batch size. All lanes share one session, whose runs are independent.

    On a CPU, images of a batch run one after the other: faster than together at every batch size, in the memory of one
    image (docs/adr/0008-engines-at-speed.md).
    """

    name = "onnxruntime"
    precision = "f32"
    bucket_sizes: tuple[int, ...] = ()
    parity: Parity | None = None

    def __init__(
        self, onnx_path: Path, card: ModelCard, *, device: Literal["cpu", "cuda"], lanes: int, threads: int
    ) -> None:
        """Load the model; on a CPU, once for each mode. The arguments are those of `create_engine`.

        Raises:
            EngineUnavailableError: The device is not there, or ONNX Runtime cannot use it.
            ModelLoadError: ONNX Runtime cannot read the file.
        """
        if device == "cuda" and not has_cuda_provider():
            raise EngineUnavailableError(
                "This ONNX Runtime has no CUDA. Install `onnxruntime-gpu` in place of `onnxruntime`, or set the device "
                "to `cpu`."
            )
        refuse_telemetry()
        import onnxruntime

        self.library = f"onnxruntime {onnxruntime.__version__}"
        # A run computes in its lane's thread and in a pool that all lanes share.
        pool_sizes = {EngineMode.THROUGHPUT: max(1, threads - lanes + 1)}
        if device == "cpu" and lanes > 1 and threads > 1:
            pool_sizes[EngineMode.LATENCY] = threads
        self.modes = frozenset(pool_sizes)
        self._is_cuda = device == "cuda"
        self._lone_batch = threading.Lock()
        self._sessions = {mode: self._open(onnx_path, card.name, size) for mode, size in pool_sizes.items()}
        names = [output.name for output in self._sessions[EngineMode.THROUGHPUT].get_outputs()]
        self._scores = names[0]
        self.has_features = FEATURES_NAME in names
        self.device = describe_gpu() if self._is_cuda else describe_cpu()

    def infer(self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT) -> NDArray[np.float32]:
        """Classify a batch; see `Engine.infer`."""
        [probabilities] = self._infer(batch_nhwc, mode, (self._scores,))
        return probabilities

    def infer_with_features(
        self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Classify a batch and return its features; see `Engine.infer_with_features`."""
        if not self.has_features:
            raise explain_no_features()
        probabilities, features = self._infer(batch_nhwc, mode, (self._scores, FEATURES_NAME))
        return probabilities, features

    def close(self) -> None:
        """Release the model once running batches have ended."""
        self._sessions = {}

    def _infer(
        self, batch_nhwc: NDArray[np.uint8], mode: EngineMode, outputs: Sequence[str]
    ) -> list[NDArray[np.float32]]:
        session = self._sessions.get(mode) or self._sessions.get(EngineMode.THROUGHPUT)
        if session is None:
            raise InferenceFailedError("The engine is closed.")
        try:
            if self._is_cuda:
                return _run_on_cuda(session, batch_nhwc, outputs)
            with self._lone_batch if mode is EngineMode.LATENCY else nullcontext():
                return _run(session, batch_nhwc, outputs)
        # ONNX Runtime's errors have no base of their own: each derives from Exception.
        except Exception as error:
            raise explain_failure(error, library="ONNX Runtime", images=len(batch_nhwc)) from error

    def _open(self, onnx_path: Path, name: str, threads: int) -> "InferenceSession":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning between operators makes a lone image 25 % faster. After the last operator it would only take cores
        # from decoding.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        providers: list[Any] = [(CUDA_PROVIDER, _CUDA_OPTIONS)] if self._is_cuda else ["CPUExecutionProvider"]
        try:
            session = onnxruntime.InferenceSession(str(onnx_path), options, providers=providers)
        # As in `infer`.
        except Exception as error:
            reason = describe_load_error(error, onnx_path)
            raise ModelLoadError(
                f"ONNX Runtime cannot load {name!r} from {onnx_path.name}: {reason}. Prepare the model again.",
                model=name,
            ) from error
        # Where CUDA fails to start, ONNX Runtime logs it and uses the CPU.
        if self._is_cuda and CUDA_PROVIDER not in session.get_providers():
            raise EngineUnavailableError(
                "ONNX Runtime could not start CUDA; the lines that it logged above say why. Install the CUDA and cuDNN "
                "libraries that it asks for, or set the device to `cpu`."
            )
        return session


def _run(
    session: "InferenceSession", batch_nhwc: NDArray[np.uint8], outputs: Sequence[str]
) -> list[NDArray[np.float32]]:
    name = session.get_inputs()[0].name
    # Slices of a C-contiguous array are read without a copy, and each output is a new array.
    rows = [session.run(outputs, {name: batch_nhwc[row : row + 1]}) for row in range(len(batch_nhwc))]
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def _run_on_cuda(
    session: "InferenceSession", batch_nhwc: NDArray[np.uint8], outputs: Sequence[str]
) -> list[NDArray[np.float32]]:
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, np.ascontiguousarray(batch_nhwc))
    for name in outputs:
        binding.bind_output(name, "cpu")
    session.run_with_iobinding(binding)
    answers: list[NDArray[np.float32]] = binding.copy_outputs_to_cpu()
    return answers
