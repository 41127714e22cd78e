"""Measure parity: our preprocessing and CPU engines against timm's preprocessing and f32 PyTorch or ONNX Runtime."""

import functools
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bento_service.domain.graph import INPUT_NAME
from bento_service.domain.models import InputRecipe, ModelCard, Parity
from bento_service.engines.base import Engine
from bento_service.engines.choice import is_installed
from bento_service.engines.devices import refuse_telemetry
from bento_service.engines.onnxruntime_engine import ONNXRuntimeEngine
from bento_service.engines.openvino_engine import OpenVINOEngine
from bento_service.images.geometry import plan_geometry
from bento_service.images.preprocessing import ImageLimits, preprocess
from bento_service.machine import count_cpus
from bento_service.preparation.opencv_reference import resize_by_formula
from bento_service.preparation.progress import Progress
from bento_service.preparation.sources.base import LoadedModel

if TYPE_CHECKING:
    import torch

CROPS = 200
"""One disagreement in 200 is 0.5 %, which the gate allows."""

_BATCH = 8
_LIMITS = ImageLimits(max_bytes=100_000_000, max_pixels=100_000_000)
_SMALLEST_CROP_PX = 96
OnImages = Callable[[int], None]
"""Called with the number of images that have run."""
_TIMM_CROP_MODES = {"crop": "center", "squash": "squash", "letterbox": "border"}
_SAMPLES = Path(__file__).parents[2] / "dashboard" / "samples"


def measure_parity(
    model: LoadedModel,
    onnx_path: Path,
    crops: Sequence[bytes] | None = None,
    *,
    on_progress: Callable[[int], None] = lambda percent: None,
) -> Mapping[str, Parity]:
    """Measure each installed CPU engine against PyTorch; none if there are no images.

    `crops` are encoded images; None means those of `sample_crops`. `on_progress` is called with percentages.
    """
    images = sample_crops() if crops is None else crops
    if not images:
        return {}
    progress = Progress(len(images) * (1 + count_engines()), on_progress)
    reference = classify_as_reference(model, images, progress.add)
    return compare_engines(onnx_path, model.to_card(version=""), reference, images, progress.add)


@functools.cache  # several models are measured over the same crops
def sample_crops(count: int = CROPS) -> tuple[bytes, ...]:
    """Return crops of the dashboard's photographs, as encoded images; none where the dashboard is not installed."""
    photographs = sorted(path for path in _SAMPLES.glob("*") if path.suffix in {".jpg", ".png"})
    return tuple(make_crops(photographs, count)) if photographs else ()


def count_engines() -> int:
    """Return how many CPU engines are installed, which parity is measured of."""
    return 1 + is_installed(ONNXRuntimeEngine.name)


def compare_engines(
    onnx_path: Path,
    card: ModelCard,
    reference: NDArray[np.float32],
    crops: Sequence[bytes],
    on_images: OnImages = lambda count: None,
) -> Mapping[str, Parity]:
    """Return the parity of each installed CPU engine with a reference's probabilities for encoded images."""
    return {
        engine.name: compare(reference, classify_as_served(engine, card.recipe, crops, on_images=on_images))
        for engine in _open_engines(onnx_path, card)
    }


def make_crops(photographs: Sequence[Path], count: int, *, seed: int = 0) -> Iterator[bytes]:
    """Yield `count` encoded images: each photograph whole, then crops of random place, size and aspect.

    Every third is a PNG, the others are JPEGs of quality 70 to 95 with and without chroma subsampling. Equal seeds make
    equal crops.
    """
    random = np.random.default_rng(seed)
    images = [Image.open(path).convert("RGB") for path in photographs]
    for index in range(count):
        image = images[index % len(images)]
        crop = image if index < len(images) else _cut(image, random)
        buffer = io.BytesIO()
        if index % 3 == 0:
            crop.save(buffer, "PNG", compress_level=1)
        else:
            crop.save(buffer, "JPEG", quality=int(random.integers(70, 96)), subsampling=index % 3)
        yield buffer.getvalue()


def classify_as_served(
    engine: Engine,
    recipe: InputRecipe,
    crops: Sequence[bytes],
    *,
    min_oversampling: int | None = None,
    on_images: OnImages = lambda count: None,
) -> NDArray[np.float32]:
    """Classify encoded images with our preprocessing and an engine.

    `min_oversampling` is that of `preprocess`. Returns probabilities of shape (len(crops), classes).
    """
    answers = []
    for batch in _batches(crops):
        pixels = [preprocess(crop, recipe, _LIMITS, min_oversampling=min_oversampling).pixels_hwc for crop in batch]
        answers.append(engine.infer(np.stack(pixels)))
        on_images(len(batch))
    return np.concatenate(answers)


def classify_as_reference(
    model: LoadedModel, crops: Sequence[bytes], on_images: OnImages = lambda count: None
) -> NDArray[np.float32]:
    """Classify encoded images with Pillow, timm's evaluation transform and f32 PyTorch.

    A recipe that is not antialiased has the transform of `transform_plainly`.
    """
    import torch

    recipe = model.recipe
    transform = _load_timm_transform(recipe) if recipe.is_antialiased else _make_opencv_transform(recipe)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (recipe.mean, recipe.std))
    answers = []
    with torch.inference_mode():
        for batch in _batches(crops):
            images = torch.stack([transform(_open(crop, recipe)) for crop in batch])
            ordered = images.flip(1) if recipe.channels == "bgr" else images
            logits = model.module((ordered.to(torch.float32) / 255.0 - mean) / std)
            scores = torch.sigmoid(logits) if model.score_kind == "independent" else torch.softmax(logits, dim=1)
            answers.append(scores.numpy())
            on_images(len(batch))
    return np.concatenate(answers)


def classify_with_onnxruntime(onnx_path: Path, recipe: InputRecipe, crops: Sequence[bytes]) -> NDArray[np.float32]:
    """Classify encoded images with `transform_plainly` and ONNX Runtime in f32."""
    refuse_telemetry()
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    answers = []
    for batch in _batches(crops):
        pixels = [_transform(_open(crop, recipe), recipe) for crop in batch]
        answers.append(session.run(None, {INPUT_NAME: np.stack(pixels)})[0])
    return np.concatenate(answers)


def transform_plainly(encoded: bytes, recipe: InputRecipe) -> NDArray[np.uint8]:
    """Return an encoded image as a recipe wants it, shape (height, width, channels).

    Pillow resizes it, or `resize_by_formula` where the recipe is not antialiased.
    """
    return _transform(_open(encoded, recipe), recipe)


def compare(reference: NDArray[np.float32], served: NDArray[np.float32]) -> Parity:
    """Compare two paths' probabilities over the same images, both of shape (n, classes), n >= 1.

    Raises:
        ValueError: The shapes differ, or there is nothing to compare.
    """
    if reference.shape != served.shape or reference.ndim != 2 or reference.shape[0] == 0:
        raise ValueError(f"cannot compare shapes {reference.shape} and {served.shape}: both must be (n >= 1, classes)")
    agreement = np.mean(reference.argmax(axis=1) == served.argmax(axis=1))
    difference = np.abs(reference.astype(np.float64) - served.astype(np.float64)).max()
    return Parity(reference.shape[0], top1_agreement=float(agreement), max_probability_difference=float(difference))


def _open_engines(onnx_path: Path, card: ModelCard) -> Iterator[Engine]:
    """Yield the installed CPU engines with the file loaded; each is closed before the next one opens."""
    threads = count_cpus()
    with closing(OpenVINOEngine(onnx_path, card, lanes=1, threads=threads)) as openvino:
        yield openvino
    if is_installed(ONNXRuntimeEngine.name):
        with closing(ONNXRuntimeEngine(onnx_path, card, device="cpu", lanes=1, threads=threads)) as onnxruntime:
            yield onnxruntime


def _open(encoded: bytes, recipe: InputRecipe) -> Image.Image:
    return Image.open(io.BytesIO(encoded)).convert("L" if recipe.channels == "grey" else "RGB")


def _load_timm_transform(recipe: InputRecipe) -> "Callable[[Image.Image], torch.Tensor]":
    """Return timm's evaluation transform up to normalisation: uint8, shape (channels, height, width)."""
    from timm.data.transforms_factory import create_transform

    transform: Callable[[Image.Image], torch.Tensor] = create_transform(
        input_size=(recipe.channel_count, recipe.height_px, recipe.width_px),
        interpolation=recipe.interpolation,
        crop_pct=recipe.crop_fraction if recipe.fit == "crop" else 1.0,
        crop_mode=_TIMM_CROP_MODES[recipe.fit],
        # timm fills borders with the mean.
        mean=(recipe.pad_value / 255,) * recipe.channel_count,
        normalize=False,
    )
    return transform


def _make_opencv_transform(recipe: InputRecipe) -> "Callable[[Image.Image], torch.Tensor]":
    import torch

    return lambda image: torch.from_numpy(_transform(image, recipe).copy()).permute(2, 0, 1)


def _transform(image: Image.Image, recipe: InputRecipe) -> NDArray[np.uint8]:
    across, down = plan_geometry(image.width, image.height, recipe)
    size = across.resized_px, down.resized_px
    if recipe.is_antialiased:
        resized = image.resize(size, Image.Resampling[recipe.interpolation.upper()])
    else:
        resized = Image.fromarray(resize_by_formula(np.asarray(image), size, recipe.interpolation))
    framed = Image.new(image.mode, (across.crop_px, down.crop_px), (recipe.pad_value,) * recipe.channel_count)
    framed.paste(resized, (-across.start_px, -down.start_px))
    return np.asarray(framed).reshape(recipe.shape_hwc)


def _cut(image: Image.Image, random: np.random.Generator) -> Image.Image:
    width_px = int(random.integers(min(_SMALLEST_CROP_PX, image.width), image.width + 1))
    height_px = int(random.integers(min(_SMALLEST_CROP_PX, image.height), image.height + 1))
    left = int(random.integers(0, image.width - width_px + 1))
    top = int(random.integers(0, image.height - height_px + 1))
    return image.crop((left, top, left + width_px, top + height_px))


def _batches(crops: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(crops), _BATCH):
        yield crops[start : start + _BATCH]
