"""How large the images are, and the one that BentoML would make by itself."""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.containers.builds import (
    STOCK_BENTO,
    build_stock_image,
    copy_checkout,
    delete_bento,
    flatten_requirements,
)
from bench.containers.engine import BASE, DASHBOARD, GPU, SERVICE, discard_image, has_image, image_bytes, image_layers
from bench.containers.result import STOCK, ImageSize
from bench.running import ROOT


def measure_sizes(*, with_stock: bool, keep_stock: bool) -> list[ImageSize]:
    """Return the sizes of the images that there are.

    Args:
        with_stock: Also build and measure the image that stock `bentoml containerize` makes, which takes minutes.
        keep_stock: Leave that image, so that the next measurement of the same requirements finds it.

    Raises:
        EngineError: An image of the service or the dashboard is not there.
        BuildError: The stock image could not be built.
    """
    sizes = [measure_size(image, image) for image in (SERVICE, DASHBOARD)]
    if has_image(GPU):
        sizes.append(measure_size(GPU, GPU))
    if with_stock:
        sizes.append(_measure_stock(keep_it=keep_stock))
    return sizes


def measure_size(name: str, image: str) -> ImageSize:
    """Measure one image, whose lowest layers may be those of the base image."""
    base = image_layers(BASE)
    is_on_base = image_layers(image)[: len(base)] == base
    return ImageSize(name, image_bytes(image), image_bytes(BASE) if is_on_base else 0)


def _measure_stock(*, keep_it: bool) -> ImageSize:
    requirements = "\n".join(flatten_requirements(ROOT / "requirements.txt"))
    image = f"{STOCK_BENTO}:{hashlib.sha256(requirements.encode()).hexdigest()[:12]}"
    if not has_image(image):
        with TemporaryDirectory(prefix="lightbox-bench-") as folder:
            build_stock_image(copy_checkout(Path(folder)), image)
    try:
        return measure_size(STOCK, image)
    finally:
        if not keep_it:
            discard_image(image)
            delete_bento(STOCK_BENTO)
