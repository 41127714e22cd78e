"""FastAPI with eager PyTorch, as tutorials show it: Pillow, torchvision's transforms, a sync endpoint.

It runs in Lightbox's own virtual environment, where PyTorch is already: a second copy would take 5 GB. Torch keeps its
own number of threads, as in the tutorials; with several workers it is divided, or they would stand in each other's way.
"""

import io
from typing import Annotated, Any

import torch
import uvicorn
from fastapi import Body, FastAPI
from PIL import Image
from torchvision import transforms

from bench.peers.classifier import answer, read_model, read_port, read_workers, share_of_cpus
from bento_service.preparation.sources.bundled import load_bundled

MODEL = "efficientnet_lite0"


def create_app() -> FastAPI:
    """Load the model and make the application."""
    labels = read_model().labels
    loaded = load_bundled(MODEL)
    recipe = loaded.recipe
    if read_workers() > 1:
        torch.set_num_threads(share_of_cpus())
    transform = transforms.Compose(
        [
            transforms.Resize(
                int(recipe.height_px / recipe.crop_fraction), interpolation=transforms.InterpolationMode.BICUBIC
            ),
            transforms.CenterCrop(recipe.height_px),
            transforms.ToTensor(),
            transforms.Normalize(recipe.mean, recipe.std),
        ]
    )
    app = FastAPI()

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/classify")
    def classify(image: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
        batch = transform(Image.open(io.BytesIO(image)).convert("RGB")).unsqueeze(0)
        with torch.inference_mode():
            probabilities = torch.softmax(loaded.module(batch), dim=1)
        return answer(probabilities[0].numpy(), labels)

    return app


if __name__ == "__main__":
    uvicorn.run(
        "bench.peers.fastapi_torch.server:create_app",
        factory=True,
        port=read_port(),
        workers=read_workers(),
        access_log=False,
    )
