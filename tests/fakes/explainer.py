"""An explainer without models: a map with one strongest cell, over a fake classifier."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.explanations import Box, Explanation, Method
from bento_service.domain.models import ModelCard
from bento_service.domain.requests import Prediction
from bento_service.explain.explainer import Explainer, Question, check_class
from bento_service.explain.heads import ClassHeads
from bento_service.explain.placement import place_input
from bento_service.models.class_head import ClassHead
from bento_service.models.store import BentoModelStore
from bento_service.pipeline.request import ImageRequest
from tests.fakes.classifier import FakeClassifier


class FakeHeads(ClassHeads):
    """The same head for every version, or none."""

    def __init__(self, head: ClassHead | None) -> None:
        super().__init__(BentoModelStore())
        self._head = head

    async def find(self, card: ModelCard) -> ClassHead | None:
        return self._head


Draw = Callable[[bytes, NDArray[np.float32], Box, float], bytes]

GRID = np.zeros((7, 7), np.float32)
GRID[2, 4] = 1.5
BIAS = -0.25


def picture_of(encoded: bytes, grid: NDArray[np.float32], box: Box, opacity: float) -> bytes:
    """A picture that contains the opacity and the bytes of its image."""
    return b"\x89PNG at %g of " % opacity + encoded


class FakeExplainer(Explainer):
    """Explains what a fake classifier answers: by a class activation map, unless occlusion is asked for.

    `questions` holds each question whose image arrived; `draw` makes the pictures.
    """

    def __init__(self, classifier: FakeClassifier, draw: Draw = picture_of) -> None:
        super().__init__(classifier, FakeHeads(None))
        self.draw = draw
        self.questions: list[Question] = []

    async def explain(self, image: ImageRequest, encoded: bytes, question: Question) -> Explanation:
        self.questions.append(question)
        check_class(question.class_id, image.model.card)
        answer = await image.classify(encoded)
        best = answer.predictions[0]
        class_id = best.class_id if question.class_id is None else question.class_id
        is_cam = question.method != "occlusion"
        box = place_input(answer.image, image.model.card.recipe)
        opacity = question.picture_opacity
        return Explanation(
            answer,
            Method.CAM if is_cam else Method.OCCLUSION,
            Prediction(class_id, image.model.card.labels[class_id], best.score),
            GRID,
            BIAS if is_cam else None,
            box,
            None if opacity is None else self.draw(encoded, GRID, box, opacity),
        )
