"""The engine for CPUs: OpenVINO in f32."""

from pathlib import Path
from queue import LifoQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bento_service.domain import Device, EngineMode, ModelCard
from bento_service.engines.batches import check_batch
from bento_service.engines.devices import describe_cpu
from bento_service.errors import InferenceFailedError, ModelLoadError, OutOfMemoryError

if TYPE_CHECKING:
    from openvino import InferRequest


class OpenVINOEngine:
    """Runs an ONNX file on the CPU, one stream a lane. A batch may have any size.

    f32, since bf16 answered otherwise on 6 % of photographs. One graph of any batch size, since a second one for single
    images gained 8 % on EfficientNet-Lite0 and cost its weights' memory again.
    """

    name = "openvino"
    precision = "f32"
    modes = frozenset({EngineMode.THROUGHPUT})
    bucket_sizes: tuple[int, ...] = ()

    def __init__(
        self,
        onnx_path: Path,
        card: ModelCard,
        *,
        lanes: int,
        threads: int,
        workers: int = 1,
    ) -> None:
        """Compile the model.

        Args:
            onnx_path: Takes `images`, returns `probabilities`, as `Engine.infer` does.
            card: Gives the size of the input.
            lanes: Batches in flight, at most; more wait for one to end.
            threads: Compute threads, shared by the lanes.
            workers: Processes on this machine that run engines. Threads are pinned to cores only where it is one, as
                several processes would pin theirs to the same cores.

        Raises:
            ModelLoadError: OpenVINO cannot read or compile the file.
        """
        import openvino

        properties: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": str(lanes),
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": workers == 1,
        }
        try:
            compiled = openvino.Core().compile_model(str(onnx_path), "CPU", properties)
        except RuntimeError as error:
            raise ModelLoadError(
                f"OpenVINO cannot load {card.name!r} from {onnx_path.name}: {error}. Prepare the model again.",
                model=card.name,
            ) from error
        self._recipe = card.recipe
        self._device = describe_cpu()
        self._is_closed = False
        # The last one used is the first one taken: its buffers are the warmest.
        self._requests: LifoQueue[InferRequest] = LifoQueue(maxsize=lanes)
        for _ in range(lanes):
            self._requests.put(compiled.create_infer_request())

    @property
    def device(self) -> Device:
        """The CPU."""
        return self._device

    def infer(self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT) -> NDArray[np.float32]:
        """Classify a batch, without a copy of its pixels; see `Engine.infer`."""
        check_batch(batch_nhwc, self._recipe)
        if self._is_closed:
            raise InferenceFailedError("The engine is closed.")
        request = self._requests.get()
        try:
            outputs = request.infer({0: batch_nhwc}, share_inputs=True, share_outputs=True)
            # The request's next run writes into the same memory.
            probabilities: NDArray[np.float32] = outputs[0].copy()
        except (RuntimeError, MemoryError) as error:
            raise _explain(error, len(batch_nhwc)) from error
        finally:
            self._requests.put(request)
        return probabilities

    def close(self) -> None:
        """Wait for what is running and release the model."""
        if self._is_closed:
            return
        self._is_closed = True
        for _ in range(self._requests.maxsize):
            self._requests.get()


def _explain(error: Exception, images: int) -> InferenceFailedError | OutOfMemoryError:
    if isinstance(error, MemoryError) or "bad_alloc" in str(error):
        return OutOfMemoryError(f"There is too little memory for a batch of {images} images.")
    return InferenceFailedError(f"OpenVINO failed on a batch of {images} images: {error}")
