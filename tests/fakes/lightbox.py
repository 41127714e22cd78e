"""A worker's wired parts around a classifier, with nothing of a bento, a model store or a database."""

from bento_service.pipeline.classifier import Classifier
from bento_service.pipeline.pipeline import Leftovers, Pipeline


class FakeLightbox(Pipeline):
    """Drains its classifier as it closes, and has left undone what it was told."""

    def __init__(self, classifier: Classifier, leftovers: Leftovers = Leftovers(0, 0)) -> None:  # noqa: B008 - frozen
        self.classifier = classifier
        self._leftovers = leftovers

    async def close(self, *, drain_s: float) -> Leftovers:
        await self.classifier.drain(timeout_s=drain_s)
        return self._leftovers
