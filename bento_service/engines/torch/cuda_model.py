"""Optimise a torch program for a GPU: fold batch norms, choose the precision by the parity gate, compile if asked.

A serving container has no photographs, so the gate is measured over synthetic images.
"""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import MAX_PROBABILITY_DIFFERENCE, InputRecipe, Parity
from bento_service.engines.torch.features import ForwardWithFeatures, return_features
from bento_service.engines.torch.program import fold_batch_norms, lower_weights

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

logger = logging.getLogger(__name__)

Precision = Literal["f32", "fp16", "bf16"]
Classify = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Probabilities, shape (n, classes), of a batch of any size n >= 1."""
Forward = Callable[["torch.Tensor"], "torch.Tensor"]
"""uint8 images, shape (n, height, width, channels), to f32 probabilities, shape (n, classes), on one device."""
_Answer = TypeVar("_Answer")
Compiler = Callable[["nn.Module"], Forward]

MIN_DECIDED = 100
"""Fewest decided images for a comparison of the best class."""

_BATCH = 8


@dataclass(frozen=True, slots=True)
class CudaModel:
    """A forward pass, its precision, and its parity with unaltered f32 on the same device.

    `forward_with_features` is never compiled, and None where the model's head is not pooling and linear layers.
    """

    forward: Forward
    precision: Precision
    parity: Parity
    forward_with_features: ForwardWithFeatures | None


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
    lowered: dict[Precision, fx.GraphModule] = {}

    def prepare(candidate: Precision) -> Classify:
        lowered.clear()  # free the rejected candidate
        lowered[candidate] = lower(module, candidate)
        return classify_with(run_in(candidate, lowered[candidate], device), device)

    settled, parity = choose_precision(candidates, prepare, reference, probes)
    tapped = return_features(lowered[settled])
    with_features = None if tapped is None else run_in(settled, tapped, device)
    model = CudaModel(run_in(settled, lowered[settled], device), settled, parity, with_features)
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
    return CudaModel(compiled, settled, compiled_parity, with_features)


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


def lower(module: "fx.GraphModule", precision: Precision) -> "fx.GraphModule":
    """Return the module with weights of a precision: itself for f32, else a copy."""
    import torch

    if precision != "f32":
        module = copy.deepcopy(module)
        lower_weights(module, _dtype(precision))
    return module.to(memory_format=torch.channels_last)


def _dtype(precision: Precision) -> "torch.dtype":
    import torch

    return {"f32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]


def run_in(
    precision: Precision, module: "Callable[[torch.Tensor], _Answer]", device: str
) -> "Callable[[torch.Tensor], _Answer]":
    """Return the forward pass of a module whose weights have the precision already."""
    import torch

    if precision == "f32":
        return module
    dtype = _dtype(precision)

    def forward(images: "torch.Tensor") -> _Answer:
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


def list_candidates(asked: Literal["auto"] | Precision, *, has_bf16: bool) -> tuple[Precision, ...]:
    """Return the precisions to try, fastest first: `asked`, or all that the GPU has in hardware.

    fp16 before bf16: GPUs are as fast in either, and fp16 has three more bits of mantissa. Emulated bf16 is slower than
    f32.
    """
    if asked != "auto":
        return (asked,)
    return ("fp16", "bf16", "f32") if has_bf16 else ("fp16", "f32")


def make_probes(recipe: InputRecipe, count: int = 256) -> NDArray[np.uint8]:
    """Make images with the statistics of natural ones: overlapping discs of random size and colour.

    The dead leaves model (Lee, Mumford and Huang, Occlusion Models for Natural Images, IJCV 2001): the density of radii
    falls with their cube, which gives edges at every scale. Few discs give large shapes and more confident classes.

    Returns:
        RGB or grey, 0-255, shape (count, *recipe.shape_hwc); the same at each call.
    """
    random = np.random.default_rng(0)
    height, width = recipe.height_px, recipe.width_px
    smallest, largest = 3.0, 0.4 * min(height, width)
    channels = recipe.channel_count
    images = np.empty((count, *recipe.shape_hwc), dtype=np.uint8)
    for image in images:
        image[:] = random.integers(0, 256, channels)
        discs = int(random.integers(3, 30))
        radii = 1 / np.sqrt(random.uniform(1 / largest**2, 1 / smallest**2, discs))
        for radius in np.sort(radii)[::-1]:  # small discs on top, where they are visible
            centre = random.uniform(0, height), random.uniform(0, width)
            _paint_disc(image, *centre, radius, random.integers(0, 256, channels))
    return images


def choose_precision(
    candidates: Sequence[Precision],
    prepare: Callable[[Precision], Classify],
    reference: NDArray[np.float32],
    probes: NDArray[np.uint8],
) -> tuple[Precision, Parity]:
    """Take the first candidate that passes the gate; the last one if none does.

    `prepare` returns the model in a precision. A `RuntimeError`, from it or from a batch, rules the precision out: some
    models mix types in unsupported ways. `reference` has the probabilities of unaltered f32 for the `probes`, shape
    (len(probes), classes).

    Raises:
        RuntimeError: The last candidate failed.
    """
    *faster, last = candidates
    for precision in faster:
        try:
            parity = measure_parity(reference, classify_all(prepare(precision), probes))
        except RuntimeError as error:
            logger.warning("The model cannot be served in %s, since it fails there: %s", precision, error)
            continue
        if parity.passes_gate:
            return precision, parity
        logger.info("%s fails the parity gate: %s", precision, describe(parity))
    return last, measure_parity(reference, classify_all(prepare(last), probes))


def classify_all(classify: Classify, probes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Classify any number of images in batches of 8, which fit even into a nearly full GPU."""
    return np.concatenate([classify(probes[start : start + _BATCH]) for start in range(0, len(probes), _BATCH)])


def measure_parity(reference: NDArray[np.float32], served: NDArray[np.float32]) -> Parity:
    """Compare two paths' probabilities for synthetic images, both of shape (n, classes).

    All images count for the difference. For the best class only decided images count, whose best class leads by at
    least the difference that the gate allows: unlike photographs, synthetic images often tie two classes, and rounding
    decides between them. With fewer than `MIN_DECIDED` the agreement is 0.
    """
    runner_up, best = np.partition(reference, -2, axis=1)[:, -2:].T
    decided = best - runner_up >= MAX_PROBABILITY_DIFFERENCE
    agrees = reference.argmax(axis=1) == served.argmax(axis=1)
    agreement = float(agrees[decided].mean()) if decided.sum() >= MIN_DECIDED else 0.0
    difference = np.abs(reference.astype(np.float64) - served.astype(np.float64)).max()
    # After an overflow the difference is not finite.
    bounded = float(difference) if np.isfinite(difference) else 1.0
    return Parity(crops=len(reference), top1_agreement=agreement, max_probability_difference=bounded)


def describe(parity: Parity) -> str:
    """Describe a parity for the log."""
    return (
        f"over {parity.crops} made-up images the best class agrees on {parity.top1_agreement:.1%} of the decided ones, "
        f"and a probability moves by up to {parity.max_probability_difference:.4f}"
    )


def _paint_disc(
    image: NDArray[np.uint8], centre_y: float, centre_x: float, radius: float, colour: NDArray[np.int64]
) -> None:
    top, left = max(0, int(centre_y - radius)), max(0, int(centre_x - radius))
    patch = image[top : int(centre_y + radius) + 1, left : int(centre_x + radius) + 1]
    rows, columns = np.ogrid[top : top + patch.shape[0], left : left + patch.shape[1]]
    patch[(rows - centre_y) ** 2 + (columns - centre_x) ** 2 <= radius**2] = colour
