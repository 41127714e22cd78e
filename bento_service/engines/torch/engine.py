"""PyTorch on CUDA GPUs, and in f32 on CPUs as the reference."""

import logging
from collections.abc import Callable
from pathlib import Path
from queue import LifoQueue
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import ModelCard, Parity
from bento_service.domain.runner import Device, EngineMode
from bento_service.engines.base import explain_no_features
from bento_service.engines.devices import describe_cpu, describe_cuda
from bento_service.engines.torch.cuda_lanes import CudaLane, LaneModel, list_buckets, open_lanes
from bento_service.engines.torch.cuda_model import Precision, compile_for, describe, list_candidates, ready_model
from bento_service.engines.torch.cuda_streams import CudaRuntime, is_out_of_memory
from bento_service.engines.torch.features import return_features
from bento_service.engines.torch.program import load_program
from bento_service.errors import EngineUnavailableError, InferenceFailedError, ModelLoadError, OutOfMemoryError

if TYPE_CHECKING:
    from torch import nn

_Answer = TypeVar("_Answer")

logger = logging.getLogger(__name__)


class TorchEngine:
    """Runs a torch program: on a GPU as CUDA graphs of fixed batch sizes, on a CPU in f32 with any batch size.

    Creating one changes the process: the number of torch threads for a CPU, no TF32 for a GPU. There is one mode, since
    all lanes share the threads.
    """

    name = "torch"
    modes = frozenset({EngineMode.THROUGHPUT})

    def __init__(
        self,
        program_path: Path,
        card: ModelCard,
        *,
        device: Literal["cpu", "cuda"],
        threads: int,
        lanes: int = 2,
        precision: Literal["auto"] | Precision = "auto",
        compile_model: bool = False,
        max_batch: int = 128,
    ) -> None:
        """Load the program, a `torch.export` file that takes and returns what `Engine.infer` does, onto a device.

        Args:
            program_path: The file.
            card: Gives the size of the input and the number of classes.
            device: Where it runs. The arguments after `threads` apply to GPUs only.
            threads: Compute threads of a CPU engine; all lanes share them.
            lanes: Most batches in flight; others wait.
            precision: The arithmetic; `auto` takes the fastest that passes the parity gate on synthetic images.
            compile_model: Whether to compile the model with torch.compile.
            max_batch: Largest batch; smaller where the GPU lacks memory for it, see `bucket_sizes`.

        Raises:
            EngineUnavailableError: The device is not there.
            ModelLoadError: PyTorch cannot read the file or run the model, or the GPU has too little memory for it.
        """
        import torch

        self.library = f"torch {torch.__version__}"
        self._cuda: CudaProgram | None = None
        self.precision: Precision = "f32"
        self.parity: Parity | None = None
        self.bucket_sizes: tuple[int, ...] = ()
        self._module: nn.Module | None = None
        self._module_with_features: nn.Module | None = None
        if device == "cpu":
            torch.set_num_threads(threads)
            self.device = describe_cpu()
            program = load_program(program_path, card.name, device)
            self._module, self._module_with_features = program, return_features(program)
            self.has_features = self._module_with_features is not None
            return
        if not torch.cuda.is_available():
            raise EngineUnavailableError("PyTorch sees no CUDA GPU here. Set the device to `cpu` or `auto`.")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.device = describe_cuda()
        try:
            model = ready_model(
                load_program(program_path, card.name, device),
                card.recipe,
                candidates=list_candidates(precision, has_bf16=torch.cuda.is_bf16_supported(including_emulation=False)),
                compiler=compile_for(len(list_buckets(max_batch))) if compile_model else None,
                device=device,
            )
            self._cuda = CudaProgram(
                LaneModel(model.forward, card.recipe, len(card.labels), model.forward_with_features),
                max_batch=max_batch,
                lanes=lanes,
                runtime=CudaRuntime(),
            )
            self.precision, self.parity = model.precision, model.parity
            self.bucket_sizes = self._cuda.bucket_sizes
            self.has_features = model.forward_with_features is not None
            logger.info("%s runs in %s: %s", card.name, model.precision, describe(model.parity))
        except RuntimeError as error:
            raise _explain_load(error, card.name, self.device) from error

    def infer(self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT) -> NDArray[np.float32]:
        """Classify a batch; see `Engine.infer`."""
        program, module = self._cuda, self._module
        try:
            if program is not None:
                return program.infer(batch_nhwc)
            if module is not None:
                return _infer_on_cpu(module, batch_nhwc)
        except RuntimeError as error:
            raise explain(error, len(batch_nhwc)) from error
        raise InferenceFailedError("The engine is closed.")

    def infer_with_features(
        self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Classify a batch and return its features; see `Engine.infer_with_features`.

        On a GPU the batch is not a recorded one: it takes longer, and its scores may round differently.
        """
        program, module = self._cuda, self._module_with_features
        try:
            if program is not None:
                return program.infer_with_features(batch_nhwc)
            if module is not None:
                return _infer_with_features_on_cpu(module, batch_nhwc)
        except RuntimeError as error:
            raise explain(error, len(batch_nhwc)) from error
        raise explain_no_features() if self._module is not None else InferenceFailedError("The engine is closed.")

    def close(self) -> None:
        """Wait for running batches of a GPU; release the model and its memory."""
        cuda, self._cuda, self._module, self._module_with_features = self._cuda, None, None, None
        if cuda is not None:
            cuda.close()


def _infer_on_cpu(module: "nn.Module", batch_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        # PyTorch has no read-only tensors, so read-only arrays are copied.
        images = torch.from_numpy(np.require(batch_nhwc, requirements=["C", "W"]))
        probabilities: NDArray[np.float32] = module(images).numpy()
    return probabilities


def _infer_with_features_on_cpu(
    module: "nn.Module", batch_nhwc: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    import torch

    with torch.inference_mode():
        scores, features = module(torch.from_numpy(np.require(batch_nhwc, requirements=["C", "W"])))
    return scores.numpy(), np.ascontiguousarray(features.numpy())


def explain(error: RuntimeError, images: int) -> InferenceFailedError | OutOfMemoryError:
    """Translate PyTorch's error on a batch of so many images."""
    if is_out_of_memory(error) or "can't allocate memory" in str(error):
        return OutOfMemoryError(f"The device has too little memory for a batch of {images} images.")
    return InferenceFailedError(f"PyTorch failed on a batch of {images} images: {error}")


def _explain_load(error: RuntimeError, name: str, device: Device) -> ModelLoadError:
    if is_out_of_memory(error):
        return ModelLoadError(
            f"{device.name} has too little memory left for {name!r}, even for one image at a time. Serve fewer models, "
            "or with fewer workers or lanes.",
            model=name,
        )
    return ModelLoadError(f"PyTorch cannot run {name!r} on {device.name}: {error}. Serve another model.", model=name)


class CudaProgram:
    """Runs a model on a number of lanes, see `open_lanes`; further callers wait for a free one. Thread-safe."""

    def __init__(self, model: LaneModel, *, max_batch: int, lanes: int, runtime: CudaRuntime) -> None:
        opened = open_lanes(model, max_batch=max_batch, lanes=lanes, runtime=runtime)
        self.max_batch = opened[0].max_batch
        self.bucket_sizes = opened[0].bucket_sizes
        self._runtime = runtime
        self._count = lanes
        # LIFO, since the buffers used last are warm in the caches. After `close` it holds None for every later caller.
        self._lanes: LifoQueue[CudaLane | None] = LifoQueue()
        for lane in opened:
            self._lanes.put(lane)

    def infer(self, batch_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify a batch.

        Raises:
            OutOfMemoryError: The batch is larger than `max_batch`.
            InferenceFailedError: The program is closed.
            RuntimeError: What CUDA reports; `torch.OutOfMemoryError` is one.
        """
        return self._run(batch_nhwc, CudaLane.run)

    def infer_with_features(self, batch_nhwc: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Classify a batch and return its features; raises as `infer`, and where the model has none."""
        return self._run(batch_nhwc, CudaLane.run_with_features)

    def _run(self, batch_nhwc: NDArray[np.uint8], run: Callable[[CudaLane, NDArray[np.uint8]], _Answer]) -> _Answer:
        if len(batch_nhwc) > self.max_batch:
            raise OutOfMemoryError(
                f"A batch of {len(batch_nhwc)} images was given; on this GPU there is memory set aside for "
                f"{self.max_batch}. Send smaller batches."
            )
        lane = self._lanes.get()
        try:
            if lane is None:
                raise InferenceFailedError("The engine is closed.")
            return run(lane, batch_nhwc)
        except RuntimeError as error:
            if is_out_of_memory(error):
                self._runtime.release()
            raise
        finally:
            self._lanes.put(lane)

    def close(self) -> None:
        """Wait for running batches, then free the memory. Call it once."""
        for _ in range(self._count):
            self._lanes.get()
        self._lanes.put(None)
        self._runtime.release()
