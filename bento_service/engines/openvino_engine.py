"""OpenVINO in f32, on CPUs."""

import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from queue import LifoQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.graph import FEATURES_NAME
from bento_service.domain.models import ModelCard, Parity
from bento_service.domain.runner import EngineMode
from bento_service.engines.base import describe_load_error, explain_failure, explain_no_features
from bento_service.engines.devices import describe_cpu
from bento_service.errors import InferenceFailedError, ModelLoadError

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, InferRequest, Model


class OpenVINOEngine:
    """Runs an ONNX file on the CPU: one stream for each lane, and one with all threads for a lone image.

    Images of a batch run one after the other in a graph of batch size 1, which is faster than a dynamic graph at every
    batch size and needs less memory (docs/adr/0008-engines-at-speed.md). In bf16, 6 % of photographs got another class.
    """

    name = "openvino"
    precision = "f32"
    bucket_sizes: tuple[int, ...] = ()
    parity: Parity | None = None

    def __init__(self, onnx_path: Path, card: ModelCard, *, lanes: int, threads: int, workers: int = 1) -> None:
        """Compile the model, once for each mode. The arguments are those of `create_engine`.

        There is no spare stream for a lane that waits for the GIL: three lanes on two cores were slower than two.

        Raises:
            ModelLoadError: OpenVINO cannot read or compile the file.
        """
        core = share_core()
        import openvino  # after `share_core`, which disables telemetry

        self.library = f"openvino {openvino.get_version()}"
        streams = _count_streams(lanes=lanes, threads=threads)
        try:
            # Read once, because each read keeps a copy of the weights.
            model = core.read_model(onnx_path)
            model.reshape([1, *card.recipe.shape_hwc])
            outputs = [output.get_names() for output in model.outputs]
            self._features = next((index for index, names in enumerate(outputs) if FEATURES_NAME in names), None)
            if self._features is not None:
                model = _return_channels_last(model, self._features)
            self._streams = {
                mode: _Streams(core.compile_model(model, "CPU", _properties(count, threads, workers)), count)
                for mode, count in streams.items()
            }
        except RuntimeError as error:
            reason = describe_load_error(error, onnx_path)
            raise ModelLoadError(
                f"OpenVINO cannot load {card.name!r} from {onnx_path.name}: {reason}. Prepare the model again.",
                model=card.name,
            ) from error
        self.modes = frozenset(streams)
        self.has_features = self._features is not None
        self.device = describe_cpu()

    def infer(self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT) -> NDArray[np.float32]:
        """Classify a batch, without a copy of its pixels; see `Engine.infer`."""
        [probabilities] = self._infer(batch_nhwc, mode, (0,))
        return probabilities

    def infer_with_features(
        self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Classify a batch and return its features; see `Engine.infer_with_features`."""
        if self._features is None:
            raise explain_no_features()
        probabilities, features_nhwc = self._infer(batch_nhwc, mode, (0, self._features))
        return probabilities, np.ascontiguousarray(features_nhwc.transpose(0, 3, 1, 2))

    def close(self) -> None:
        """Wait for running batches and release the model."""
        for streams in self._streams.values():
            streams.close()

    def _infer(
        self, batch_nhwc: NDArray[np.uint8], mode: EngineMode, outputs: Sequence[int]
    ) -> list[NDArray[np.float32]]:
        # OpenVINO shares only C-contiguous arrays.
        batch_nhwc = np.ascontiguousarray(batch_nhwc)
        return self._streams[mode if mode in self.modes else EngineMode.THROUGHPUT].infer(batch_nhwc, outputs)


def reserve_streams(*, lanes: int, threads: int, workers: int) -> None:
    """Start the threads that the next model will compute on; the arguments are those of the engine.

    OpenVINO keeps the threads of a released model and reuses them for the next one with the same settings (2026.4.1).
    A thread inherits the niceness of the thread that starts it. So the caller can raise its own niceness afterwards and
    load a model that runs at the present one.
    """
    core = share_core()
    import openvino
    from openvino import opset8

    pixels = opset8.parameter([1], np.float32)
    smallest = openvino.Model([opset8.relu(pixels)], [pixels], "smallest")
    # All at once: one that is closed gives its threads to the next.
    compiled = [
        core.compile_model(smallest, "CPU", _properties(count, threads, workers))
        for count in _count_streams(lanes=lanes, threads=threads).values()
    ]
    for one in compiled:
        one.create_infer_request().infer({0: np.zeros(1, np.float32)})


def _count_streams(*, lanes: int, threads: int) -> dict[EngineMode, int]:
    """Return the streams of each graph. With one lane or thread, the first has one stream with all threads already."""
    streams = {EngineMode.THROUGHPUT: lanes}
    if lanes > 1 and threads > 1:
        streams[EngineMode.LATENCY] = 1
    return streams


def _return_channels_last(model: "Model", output: int) -> "Model":
    """Return a model that returns a feature map as NHWC.

    So the last convolution writes it already, on CPUs with AVX-512. As NCHW it would be turned for every image, which
    took 1 % of the time (docs/adr/0039-features-as-a-second-output.md).
    """
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor

    processor = PrePostProcessor(model)
    processor.output(output).model().set_layout(Layout("NCHW"))
    processor.output(output).tensor().set_layout(Layout("NHWC"))
    return processor.build()


def _properties(streams: int, threads: int, workers: int) -> dict[str, str | int | bool]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": str(streams),
        # Several workers would pin their threads to the same cores.
        "ENABLE_CPU_PINNING": workers == 1,
    }


class _Streams:
    """A compiled model with two inference requests for each of its streams. Callers beyond that wait.

    While every stream has a caller, each caller submits the next image of its batch before the last one is done, so
    that its stream never waits for the GIL. With a free stream it does not: the image would take that stream.
    """

    def __init__(self, compiled: "CompiledModel", count: int) -> None:
        # LIFO, since the buffers used last are warm in the caches. After `close` it holds None for every later caller.
        self._pairs: LifoQueue[tuple[InferRequest, InferRequest] | None] = LifoQueue()
        self._count = count
        for _ in range(count):
            pair = compiled.create_infer_request(), compiled.create_infer_request()
            # OpenVINO's Python binding initialises itself with the first array it gets, and deadlocks where two threads
            # pass their first at once (2026.4.1). So it gets one here, before any lane runs.
            zeros = np.zeros((len(pair), *compiled.input(0).shape[1:]), np.uint8)
            _run(pair, zeros, (0,), is_ahead=lambda: False)
            self._pairs.put(pair)

    def infer(self, batch_nhwc: NDArray[np.uint8], outputs: Sequence[int]) -> list[NDArray[np.float32]]:
        pair = self._pairs.get()
        try:
            if pair is None:
                raise InferenceFailedError("The engine is closed.")
            return _run(pair, batch_nhwc, outputs, is_ahead=self._pairs.empty)
        except (RuntimeError, MemoryError) as error:
            raise explain_failure(error, library="OpenVINO", images=len(batch_nhwc)) from error
        finally:
            self._pairs.put(pair)

    def close(self) -> None:
        for _ in range(self._count):
            self._pairs.get()
        self._count = 0
        self._pairs.put(None)


@cache
def share_core() -> "Core":
    """Return the one core of this process, which is never freed.

    The first core gives its thread a stack for signal handlers. Freeing the last core in another thread frees that
    stack, and the next signal kills the process (2026.4.1).
    """
    # With this package installed, importing OpenVINO sends telemetry. Operators have not agreed to that.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None: not to be imported
    import openvino

    return openvino.Core()


def _run(
    pair: tuple["InferRequest", "InferRequest"],
    batch_nhwc: NDArray[np.uint8],
    outputs: Sequence[int],
    *,
    is_ahead: Callable[[], bool],
) -> list[NDArray[np.float32]]:
    """Run the images of a batch in turn, and return the outputs of these numbers.

    While `is_ahead()`, each image is submitted before the last one is done.
    """
    running: deque[InferRequest] = deque()
    rows: list[list[NDArray[np.float32]]] = []
    try:
        for row in range(len(batch_nhwc)):
            while len(running) > is_ahead():
                rows.append(_finish(running.popleft(), outputs))
            request = pair[row % len(pair)]
            request.start_async({0: batch_nhwc[row : row + 1]}, share_inputs=True)
            running.append(request)
        rows += [_finish(running.popleft(), outputs) for _ in range(len(running))]
    finally:
        # After a failure, the other request still reads the caller's pixels.
        for request in running:
            with suppress(RuntimeError):
                request.wait()
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def _finish(request: "InferRequest", outputs: Sequence[int]) -> list[NDArray[np.float32]]:
    request.wait()
    # The request's next run overwrites this memory.
    return [request.get_output_tensor(index).data.copy() for index in outputs]
