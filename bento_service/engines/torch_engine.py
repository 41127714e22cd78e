"""The engine for CUDA GPUs, and the reference on a CPU: PyTorch in f32."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bento_service.domain import Device, EngineMode, ModelCard
from bento_service.engines.batches import check_batch
from bento_service.engines.devices import describe_cpu, describe_cuda
from bento_service.errors import EngineUnavailableError, InferenceFailedError, ModelLoadError, OutOfMemoryError

if TYPE_CHECKING:
    from torch import nn


class TorchEngine:
    """Runs a torch program. A batch may have any size; batches of several lanes run one after the other on a GPU.

    Making one sets, for the whole process, the number of threads of a CPU engine, and f32 without TF32 of a CUDA one.
    """

    name = "torch"
    precision = "f32"
    modes = frozenset({EngineMode.THROUGHPUT})
    bucket_sizes: tuple[int, ...] = ()

    def __init__(self, program_path: Path, card: ModelCard, *, device: Literal["cpu", "cuda"], threads: int) -> None:
        """Load the program onto a device.

        Args:
            program_path: A `torch.export` file that takes and returns what `Engine.infer` does.
            card: Gives the size of the input.
            device: Where it runs.
            threads: Compute threads of a CPU engine; all lanes share them.

        Raises:
            EngineUnavailableError: The device is not there.
            ModelLoadError: PyTorch cannot read the file.
        """
        import torch

        if device == "cuda":
            if not torch.cuda.is_available():
                raise EngineUnavailableError("PyTorch sees no CUDA GPU here. Set the device to `cpu` or `auto`.")
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
        else:
            torch.set_num_threads(threads)
        self._recipe = card.recipe
        self._device = describe_cuda() if device == "cuda" else describe_cpu()
        self._module: nn.Module | None = _load(program_path, card.name, device)

    @property
    def device(self) -> Device:
        """The GPU or the CPU."""
        return self._device

    def infer(self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT) -> NDArray[np.float32]:
        """Classify a batch; see `Engine.infer`."""
        import torch

        check_batch(batch_nhwc, self._recipe)
        if self._module is None:
            raise InferenceFailedError("The engine is closed.")
        try:
            with torch.inference_mode():
                # PyTorch has no read-only tensors, so such an array is copied.
                images = torch.from_numpy(np.require(batch_nhwc, requirements=["C", "W"])).to(self._device.kind)
                probabilities: NDArray[np.float32] = self._module(images).cpu().numpy()
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise OutOfMemoryError(f"The GPU has too little memory for a batch of {len(batch_nhwc)} images.") from error
        except RuntimeError as error:
            raise _explain(error, len(batch_nhwc)) from error
        return probabilities

    def close(self) -> None:
        """Release the model and, on a GPU, the memory that PyTorch keeps for the next one."""
        import torch

        self._module = None
        if self._device.kind == "cuda":
            torch.cuda.empty_cache()


def _load(program_path: Path, name: str, device: str) -> "nn.Module":
    import torch
    from torch.export.passes import move_to_device_pass

    try:
        program = torch.export.load(program_path)
    # A damaged file fails in the zip reader, the JSON reader or torch's own checks, each with errors of its own.
    except Exception as error:
        raise ModelLoadError(
            f"PyTorch cannot load {name!r} from {program_path.name}: {error}. Prepare the model again.", model=name
        ) from error
    module = move_to_device_pass(program, device).module()
    return module.to(memory_format=torch.channels_last)


def _explain(error: RuntimeError, images: int) -> InferenceFailedError | OutOfMemoryError:
    if "can't allocate memory" in str(error):
        return OutOfMemoryError(f"There is too little memory for a batch of {images} images.")
    return InferenceFailedError(f"PyTorch failed on a batch of {images} images: {error}")
