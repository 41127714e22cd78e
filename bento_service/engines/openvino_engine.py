"""The engine for CPUs: OpenVINO in f32."""

import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from queue import LifoQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import ModelCard, Parity
from bento_service.domain.runner import Device, EngineMode
from bento_service.engines.base import check_batch, explain_failure
from bento_service.engines.devices import describe_cpu
from bento_service.errors import InferenceFailedError, ModelLoadError

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, InferRequest, Model


class OpenVINOEngine:
    """Runs an ONNX file on the CPU: a stream a lane, and beside it all threads on one image.

    Images of a batch run one after the other in a graph of one image, which is faster than a graph of any batch size,
    at every batch size, and keeps no buffers for each (docs/adr/0008-engines-at-speed.md). f32, since bf16 answered
    otherwise on 6 % of photographs.
    """

    name = "openvino"
    precision = "f32"
    bucket_sizes: tuple[int, ...] = ()
    parity: Parity | None = None

    def __init__(
        self,
        onnx_path: Path,
        card: ModelCard,
        *,
        lanes: int,
        threads: int,
        workers: int = 1,
    ) -> None:
        """Compile the model, once for each mode that differs here.

        Args:
            onnx_path: Takes `images`, returns `probabilities`, as `Engine.infer` does.
            card: Gives the size of the input.
            lanes: Batches in flight, at most; more wait for one to end. No stream is left over for a lane that waits
                for the GIL: three lanes on two cores were slower than two.
            threads: Compute threads, shared by the lanes.
            workers: Processes on this machine that run engines. Threads are pinned to cores only where it is one, as
                several processes would pin theirs to the same cores.

        Raises:
            ModelLoadError: OpenVINO cannot read or compile the file.
        """
        streams = {EngineMode.THROUGHPUT: lanes}
        # One stream has all the threads anyway.
        if lanes > 1 and threads > 1:
            streams[EngineMode.LATENCY] = 1
        try:
            core = _share_core()
            # Read once: each read of its own would keep its own copy of the weights.
            model = core.read_model(onnx_path)
            model.reshape([1, card.recipe.height_px, card.recipe.width_px, 3])
            self._streams = {
                mode: _Streams(_compile(core, model, streams=count, threads=threads, is_pinned=workers == 1), count)
                for mode, count in streams.items()
            }
        except RuntimeError as error:
            raise ModelLoadError(
                f"OpenVINO cannot load {card.name!r} from {onnx_path.name}: {error}. Prepare the model again.",
                model=card.name,
            ) from error
        self.modes = frozenset(streams)
        self._recipe = card.recipe
        self._device = describe_cpu()

    @property
    def library(self) -> str:
        """The library and its version."""
        import openvino

        return f"openvino {openvino.get_version()}"

    @property
    def device(self) -> Device:
        """The CPU."""
        return self._device

    def infer(self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT) -> NDArray[np.float32]:
        """Classify a batch, without a copy of its pixels; see `Engine.infer`."""
        check_batch(batch_nhwc, self._recipe)
        # Only an array that is C-contiguous can be shared.
        batch_nhwc = np.ascontiguousarray(batch_nhwc)
        return self._streams[mode if mode in self.modes else EngineMode.THROUGHPUT].infer(batch_nhwc)

    def close(self) -> None:
        """Wait for what is running and release the model."""
        for streams in self._streams.values():
            streams.close()


class _Streams:
    """A compiled model and two requests for each of its streams; a caller beyond these waits for one of them.

    Where every stream has a caller, each hands the next image of its batch in while one runs, so that its stream goes
    on at once, whoever has the GIL at that moment. Otherwise the next image would take the stream of another caller.
    """

    def __init__(self, compiled: "CompiledModel", count: int) -> None:
        # The last one used is the first one taken: its buffers are the warmest. None, once closed, stays for whoever
        # comes next.
        self._pairs: LifoQueue[tuple[InferRequest, InferRequest] | None] = LifoQueue()
        self._count = count
        for _ in range(count):
            pair = compiled.create_infer_request(), compiled.create_infer_request()
            # OpenVINO's binding initialises itself with the first array that it is ever given. Where two threads give
            # it one at once, each waits for what the other holds (2026.4.1): so here, before there are any lanes.
            _run(pair, np.zeros((len(pair), *compiled.input(0).shape[1:]), np.uint8), is_ahead=lambda: False)
            self._pairs.put(pair)

    def infer(self, batch_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        pair = self._pairs.get()
        try:
            if pair is None:
                raise InferenceFailedError("The engine is closed.")
            return _run(pair, batch_nhwc, is_ahead=self._pairs.empty)
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
def _share_core() -> "Core":
    """Return the one core of this process, which lasts as long as it does.

    The first core gives the thread that makes it a stack for signal handlers, and frees that stack with the last core,
    also where another thread drops that (2026.4.1): the next signal would then end the process.
    """
    # Where it finds this package, OpenVINO reports to its makers as it is imported: an operator should choose that.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None: not to be imported
    import openvino

    return openvino.Core()


def _compile(core: "Core", model: "Model", *, streams: int, threads: int, is_pinned: bool) -> "CompiledModel":
    properties: dict[str, object] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": is_pinned,
    }
    return core.compile_model(model, "CPU", properties)


def _run(
    pair: tuple["InferRequest", "InferRequest"], batch_nhwc: NDArray[np.uint8], *, is_ahead: Callable[[], bool]
) -> NDArray[np.float32]:
    """Run the images of a batch one after the other; where `is_ahead`, each is handed in while the last one runs."""
    running: deque[InferRequest] = deque()
    rows: list[NDArray[np.float32]] = []
    try:
        for row in range(len(batch_nhwc)):
            while len(running) > is_ahead():
                rows.append(_finish(running.popleft()))
            request = pair[row % len(pair)]
            request.start_async({0: batch_nhwc[row : row + 1]}, share_inputs=True)
            running.append(request)
        rows += [_finish(running.popleft()) for _ in range(len(running))]
    finally:
        # After a failure the other one still reads the caller's pixels.
        for request in running:
            with suppress(RuntimeError):
                request.wait()
    return np.concatenate(rows)


def _finish(request: "InferRequest") -> NDArray[np.float32]:
    request.wait()
    # The request's next run writes into the same memory.
    probabilities: NDArray[np.float32] = request.get_output_tensor(0).data.copy()
    return probabilities
