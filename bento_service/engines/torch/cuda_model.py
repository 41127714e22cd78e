"""Optimise a torch program for a GPU: fold batch norms, choose the precision by the parity gate, compile if asked."""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe, Parity
from bento_service.engines.torch.precision import (
    Classify,
    Precision,
    choose_precision,
    classify_all,
    describe,
    make_probes,
    measure_parity,
)
from bento_service.engines.torch.program import fold_batch_norms, lower_weights

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

logger = logging.getLogger(__name__)

Forward = Callable[["torch.Tensor"], "torch.Tensor"]
"""uint8 images, shape (n, height, width, 3), to f32 probabilities, shape (n, classes), on one device."""
Compiler = Callable[["nn.Module"], Forward]


@dataclass(frozen=True, slots=True)
class CudaModel:
    """A forward pass, its precision, and its parity with unaltered f32 on the same device."""

    forward: Forward
    precision: Precision
    parity: Parity


def ready_model(
    module: "fx.GraphModule",
    recipe: InputRecipe,
    *,
    candidates: Sequence[Precision],
    compiler: Compiler | None,
    device: str,
) -> CudaModel:
    """Optimise a model for a device.

    Args:
        module: From `load_program`, on the device. It is changed.
        recipe: Gives the size of the input.
        candidates: Precisions, fastest first; see `choose_precision`.
        compiler: From `compile_for`; its module is used where it works and passes the gate.
        device: Its name for PyTorch.

    Raises:
        RuntimeError: The model fails on this device; `torch.OutOfMemoryError` is one.
    """
    probes = make_probes(recipe)
    reference = classify_all(classify_with(module, device), probes)
    fold_batch_norms(module)
    lowered: dict[Precision, nn.Module] = {}

    def prepare(candidate: Precision) -> Classify:
        lowered.clear()  # free the rejected candidate
        lowered[candidate] = lower(module, candidate)
        return classify_with(run_in(candidate, lowered[candidate], device), device)

    settled, parity = choose_precision(candidates, prepare, reference, probes)
    model = CudaModel(run_in(settled, lowered[settled], device), settled, parity)
    if compiler is None:
        return model
    compiled = run_in(settled, compiler(lowered[settled]), device)
    try:
        compiled_parity = measure_parity(reference, classify_all(classify_with(compiled, device), probes))
    except RuntimeError as error:  # a compiler's own errors are of this type
        logger.warning("The model cannot be compiled here and runs as it is: %s", error)
        return model
    if parity.passes_gate and not compiled_parity.passes_gate:
        logger.warning("The compiled model fails the parity gate and is not used: %s", describe(compiled_parity))
        return model
    return CudaModel(compiled, settled, compiled_parity)


def compile_for(batch_sizes: int) -> Compiler:
    """Return torch.compile, with room for the kernels of so many batch sizes and of the parity gate's batches.

    It compiles on the first batch of each size, and needs Triton and a C compiler.
    """
    import torch

    def compile_module(module: "nn.Module") -> Forward:
        # The default mode records no CUDA graphs; the lanes do.
        compiled: Forward = torch.compile(  # type: ignore[call-overload]  # its overloads lack two of its arguments
            module, dynamic=False, recompile_limit=batch_sizes + 1, isolate_recompiles=True
        )
        return compiled

    return compile_module


def lower(module: "fx.GraphModule", precision: Precision) -> "nn.Module":
    """Return the module with weights of a precision: itself for f32, else a copy."""
    import torch

    if precision != "f32":
        module = copy.deepcopy(module)
        lower_weights(module, _dtype(precision))
    return module.to(memory_format=torch.channels_last)


def _dtype(precision: Precision) -> "torch.dtype":
    import torch

    return {"f32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]


def run_in(precision: Precision, module: Forward, device: str) -> Forward:
    """Return the forward pass of a module whose weights have the precision already."""
    import torch

    if precision == "f32":
        return module
    dtype = _dtype(precision)

    def forward(images: "torch.Tensor") -> "torch.Tensor":
        # Autocast rather than a half-precision module: models may mix types, and sensitive operations stay in f32.
        with torch.autocast(device, dtype=dtype, cache_enabled=False):
            return module(images)

    return forward


def classify_with(forward: Forward, device: str) -> Classify:
    """Wrap a forward pass as a function of NumPy arrays."""
    import torch

    def classify(batch_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            scores: NDArray[np.float32] = forward(torch.from_numpy(batch_nhwc).to(device)).cpu().numpy()
        return scores

    return classify
