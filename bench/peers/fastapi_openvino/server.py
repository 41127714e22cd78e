"""FastAPI with OpenVINO: a sync endpoint, so that each request has a thread of the pool, and a stream a CPU.

Sync path operations run in a thread pool: https://fastapi.tiangolo.com/async/#path-operation-functions
"""

from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI

from bench.peers.classifier import (
    OpenVINOClassifier,
    answer,
    prepare,
    read_model,
    read_port,
    read_workers,
    share_of_cpus,
)


def create_app() -> FastAPI:
    """Load the model and make the application."""
    model = read_model()
    share = share_of_cpus()
    classifier = OpenVINOClassifier(model, streams=share, threads=share, has_batches=False)
    app = FastAPI()

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/classify")
    def classify(image: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
        probabilities = classifier.classify(prepare(image, model)[None])
        return answer(probabilities[0], model.labels)

    return app


if __name__ == "__main__":
    uvicorn.run(
        "bench.peers.fastapi_openvino.server:create_app",
        factory=True,
        port=read_port(),
        workers=read_workers(),
        access_log=False,
    )
