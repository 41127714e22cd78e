"""Explains answers: admits the image, runs it, and maps which part of it speaks for a class."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from bento_service.cache.base import CachedResult
from bento_service.domain.explanations import Explanation, Method
from bento_service.domain.models import ModelCard
from bento_service.domain.requests import Prediction, Priority
from bento_service.domain.service import ServedModel
from bento_service.errors import InvalidParameterError, UnknownModelError
from bento_service.explain.cam import map_class
from bento_service.explain.heads import ClassHeads
from bento_service.explain.occlusion import CELLS, run_covered
from bento_service.explain.picture import draw_explanation
from bento_service.explain.placement import place_input
from bento_service.models.class_head import ClassHead
from bento_service.pipeline.classifier import NO_HEADERS, Classifier
from bento_service.pipeline.request import ImageRequest

MethodChoice = Literal["auto", "cam", "occlusion"]
"""`auto` is `cam` where the model has it, else `occlusion`."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained, and how.

    `class_id` is None for the best class. With `picture_opacity`, 0 to 1, the explanation has a picture.
    """

    class_id: int | None = None
    method: MethodChoice = "auto"
    picture_opacity: float | None = None


class Explainer:
    """Explains the answers of a classifier's models. Used on its event loop."""

    def __init__(self, classifier: Classifier, heads: ClassHeads) -> None:
        self._classifier = classifier
        self._heads = heads

    def open(
        self,
        question: Question,
        *,
        request_id: str,
        model: str | None,
        deadline_ms: float | None,
        started_s: float,
        priority: Priority = Priority.INTERACTIVE,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> ImageRequest:
        """Admit one image before any of its bytes are read: as `Classifier.open`, but for occlusion as bulk work."""
        with suppress(UnknownModelError):  # the classifier raises it again, and writes the receipt
            if not _may_use_cam(question, self._classifier.served.find(model)):
                priority = Priority.BULK
        return self._classifier.open(
            request_id=request_id,
            model=model,
            top_k=1,
            deadline_ms=deadline_ms,
            started_s=started_s,
            priority=priority,
            headers=headers,
        )

    async def explain(self, image: ImageRequest, encoded: bytes, question: Question) -> Explanation:
        """Explain one class of an admitted image, in any of the formats of `bento_service.images`.

        The version that would classify the image explains it, be it a canary. The cache of results is not asked.
        Cancelling the call spares what has not begun.

        Raises:
            InvalidParameterError: The model has no such class, or no class activation map.
            LightboxError: Any of the errors of admission, intake, scheduling and inference.
        """
        return await image.within_deadline(lambda deadline_s: self._explain(image, encoded, question, deadline_s))

    async def _explain(
        self, image: ImageRequest, encoded: bytes, question: Question, deadline_s: float | None
    ) -> Explanation:
        await image.choose_version(encoded)
        card = image.model.card
        check_class(question.class_id, card)
        head = await self._find_head(question, image.model)
        if head is None:
            image.permit.priority = Priority.BULK
        completion, preprocessed = await image.compute(
            encoded,
            deadline_s=deadline_s,
            wants_features=head is not None,
            further_runs=0 if head is not None else CELLS**2,
        )
        scores = completion.scores
        class_id = int(scores.argmax()) if question.class_id is None else question.class_id
        explained = Prediction(class_id, card.labels[class_id], float(scores[class_id]))
        bias: float | None = None
        if head is not None:
            if completion.features is None:
                raise RuntimeError("a model with features returned none")
            method = Method.CAM
            grid, bias = map_class(completion.features, head, class_id)
        else:
            method = Method.OCCLUSION
            runs = await run_covered(image, preprocessed.pixels_hwc, class_id, explained.score, deadline_s)
            image.note_further_runs(runs.grid.size, queue_ms=runs.queue_ms, inference_ms=runs.inference_ms)
            grid = runs.grid
        box = place_input(preprocessed.info, card.recipe)
        opacity, png = question.picture_opacity, None
        if opacity is not None:
            runner = image.runner
            # It decodes the image once more.
            with image.permit.count_work_again():
                png = await runner.decode_pool.call(
                    lambda: draw_explanation(encoded, runner.limits, grid, box, opacity), priority=image.permit.priority
                )
        answer = image.make_answer(encoded, CachedResult.of(scores, preprocessed.info, preprocessed.warnings))
        return Explanation(answer, method, explained, grid, bias, box, png)

    async def _find_head(self, question: Question, served: ServedModel) -> ClassHead | None:
        """Return what a class activation map needs, or None for occlusion."""
        self._heads.keep_only({version.card.key for version in self._classifier.served.versions} | {served.card.key})
        head = await self._heads.find(served.card) if _may_use_cam(question, served) else None
        if head is None and question.method == "cam":
            raise InvalidParameterError(
                f"{served.card.name} has no class activation map: its head is not pooling and a linear layer, or an "
                "earlier Lightbox stored it (prepare or import it again). Ask for the method occlusion, or auto.",
                parameter="method",
                given=question.method,
            )
        return head


def _may_use_cam(question: Question, served: ServedModel) -> bool:
    return served.has_features and question.method != "occlusion"


def check_class(class_id: int | None, card: ModelCard) -> None:
    """Raise `InvalidParameterError` for a class that a model does not have; None is the best one."""
    classes = len(card.labels)
    if class_id is not None and not 0 <= class_id < classes:
        raise InvalidParameterError(
            f"class_id is {class_id}; {card.name} has the classes 0 to {classes - 1}.",
            parameter="class_id",
            minimum=0,
            maximum=classes - 1,
        )
