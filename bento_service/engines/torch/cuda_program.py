"""A model on a GPU: its lanes, and who may use one."""

from queue import LifoQueue

import numpy as np
from numpy.typing import NDArray

from bento_service.engines.torch.cuda_lanes import CudaLane, LaneModel, open_lanes
from bento_service.engines.torch.cuda_streams import Runtime, is_out_of_memory
from bento_service.errors import InferenceFailedError, OutOfMemoryError


class CudaProgram:
    """Runs a model on as many lanes as it was given; more threads than lanes wait for one. Thread-safe."""

    def __init__(self, model: LaneModel, *, max_batch: int, lanes: int, runtime: Runtime) -> None:
        """Open the lanes; see `open_lanes`."""
        opened = open_lanes(model, max_batch=max_batch, lanes=lanes, runtime=runtime)
        self.max_batch = opened[0].max_batch
        self.bucket_sizes = opened[0].bucket_sizes
        self._runtime = runtime
        self._count = lanes
        # The lane that was used last is the first one taken: its buffers are the warmest. None: there are no more.
        self._lanes: LifoQueue[CudaLane | None] = LifoQueue()
        for lane in opened:
            self._lanes.put(lane)

    def infer(self, batch_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify a batch.

        Raises:
            OutOfMemoryError: The batch is larger than what the GPU had memory for.
            InferenceFailedError: It is closed.
            torch.OutOfMemoryError: The GPU has too little memory for this batch.
            RuntimeError: Anything else that CUDA reports.
        """
        if len(batch_nhwc) > self.max_batch:
            raise OutOfMemoryError(
                f"A batch of {len(batch_nhwc)} images was given; on this GPU there is memory set aside for "
                f"{self.max_batch}. Send smaller batches."
            )
        lane = self._lanes.get()
        try:
            if lane is None:
                raise InferenceFailedError("The engine is closed.")
            return lane.run(batch_nhwc)
        except RuntimeError as error:
            if is_out_of_memory(error):
                self._runtime.release()
            raise
        finally:
            self._lanes.put(lane)

    def close(self) -> None:
        """Wait for what is running, then give the memory back. Once."""
        for _ in range(self._count):
            self._lanes.get()
        self._lanes.put(None)
        self._runtime.release()
