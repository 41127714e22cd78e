"""A classifier without models: admits, answers or fails on demand, and records its requests."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

import numpy as np

from bento_service.domain.models import InputRecipe, ModelCard, Parity
from bento_service.domain.requests import OUTCOME_OK, Answer, ImageInfo, Prediction, Preview, Priority, Receipt, Timings
from bento_service.domain.runner import Device
from bento_service.domain.service import ServedModel
from bento_service.errors import LightboxError
from bento_service.pipeline.classifier import Classifier
from bento_service.pipeline.model_table import ModelTable
from bento_service.pipeline.preview_request import PreviewRequest
from bento_service.pipeline.request import ImageRequest, name_outcome
from bento_service.pipeline.served_models import ServedModels, check_parameters

LABELS = tuple(f"class {class_id}" for class_id in range(10))
COMPUTED = Timings(receive_ms=0.4, decode_ms=1.3, queue_ms=2.0, inference_ms=9.1, total_ms=13.0)


def served_model(
    name: str, *, version: str = "", is_default: bool = False, labels: tuple[str, ...] = LABELS, size_px: int = 224
) -> ServedModel:
    """A served model, with ten classes by default."""
    recipe = InputRecipe(size_px, size_px, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    card = ModelCard(name, version or f"v-{name}", labels, recipe, "bundled", "Apache-2.0", Parity(200, 1.0, 0.001))
    return ServedModel(card, is_default, "openvino", "f32", Device("cpu", "a CPU", 8_000_000_000, 2))


def answer_for(request_id: str, card: ModelCard, top_k: int) -> Answer:
    """An answer with `top_k` predictions."""
    scores = 0.5 / np.arange(1, len(card.labels) + 1)
    predictions = tuple(Prediction(*one) for one in zip(range(top_k), card.labels, scores.tolist(), strict=False))
    image = ImageInfo("JPEG", 451, 300)
    warnings = ("exif_orientation_applied",)
    receipt = Receipt(
        request_id=request_id,
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
        model=card.name,
        model_version=card.version,
        outcome=OUTCOME_OK,
        timings=COMPUTED,
        top=predictions[:5],
        batch_size=4,
        dispatch="lane_free",
        image=image,
        digest="00" * 32,
        warnings=warnings,
    )
    return Answer(receipt, predictions, image, warnings, scores.astype(np.float32))


def preview_of(encoded: bytes) -> Preview:
    """A preview that contains the bytes of its image."""
    return Preview(b"\x89PNG of " + encoded, ImageInfo("HEIC", 4032, 3024), ("first_frame_used", "alpha_flattened"))


class Gate:
    """Holds images until it opens; a test can wait for their arrival."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._arrivals = asyncio.Semaphore(0)

    def open(self) -> None:
        self._opened.set()

    async def wait_for_arrivals(self, count: int) -> None:
        for _ in range(count):
            await self._arrivals.acquire()

    async def pass_through(self) -> None:
        self._arrivals.release()
        await self._opened.wait()


@dataclass
class FakeClassifier(Classifier):
    """Overrides all that an endpoint calls.

    `refuse` returns the error of an admission by request id, `fail` that of an image by its bytes; None means success.
    `answer` and `draw` make answers and previews. With `gate` set, images wait at it. `outcomes` holds each ended
    request's outcome by its id, `deadlines_ms` the last one of each admitted request, `begun` the ids of the further
    images of a request.
    """

    refuse: Callable[[str], LightboxError | None] = lambda request_id: None
    is_overloaded: bool = False
    fail: Callable[[bytes], Exception | None] = lambda encoded: None
    answer: Callable[[str, ModelCard, int, bytes], Answer] = lambda request_id, card, top_k, encoded: answer_for(
        request_id, card, top_k
    )
    draw: Callable[[bytes], Preview] = preview_of
    gate: "Gate | None" = None
    served_versions: tuple[ServedModel, ...] = field(
        default_factory=lambda: (served_model("lite0", is_default=True), served_model("timm/resnet50.a1_in1k"))
    )
    admitted: list[str] = field(default_factory=list)
    deadlines_ms: list[float | None] = field(default_factory=list)
    priorities: list[Priority] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    in_flight: int = 0
    most_in_flight: int = 0

    def __post_init__(self) -> None:
        self._table = ModelTable(ServedModels.of(self.served_versions, self.served_versions[0].card.name))

    def open(
        self,
        *,
        request_id: str,
        model: str | None,
        top_k: int,
        deadline_ms: float | None,
        started_s: float,
        priority: Priority = Priority.INTERACTIVE,
        continues_request: bool = False,
        models: ServedModels | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> "FakeImageRequest":
        if continues_request:
            self.begun.append(request_id)
        if (error := self.refuse(request_id)) is not None:
            self.outcomes[request_id] = error.code
            raise error
        served = self.find(model, top_k)
        self.admitted.append(request_id)
        self.deadlines_ms.append(deadline_ms)
        self.priorities.append(priority)
        return FakeImageRequest(self, request_id, served, top_k)

    def record_rejection(
        self, error: LightboxError, *, request_id: str, model: str | None, received_at: datetime, total_ms: float
    ) -> None:
        self.find(model, 1)
        self.outcomes[request_id] = error.code

    def open_preview(self) -> "FakePreviewRequest":
        if (error := self.refuse("preview")) is not None:
            raise error
        return FakePreviewRequest(self)

    async def take(self, encoded: bytes) -> None:
        """Wait at the gate, then fail or return."""
        self.images.append(encoded)
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.pass_through()
        if (error := self.fail(encoded)) is not None:
            raise error

    def find(self, model: str | None, top_k: int) -> ServedModel:
        served = self._table.current.find(model)
        check_parameters(top_k=top_k, deadline_ms=None)
        return served


class FakeImageRequest(ImageRequest):
    def __init__(self, classifier: FakeClassifier, request_id: str, model: ServedModel, top_k: int) -> None:
        self._classifier = classifier
        self._id = request_id
        self.model = model
        self._top_k = top_k

    def __enter__(self) -> Self:
        self._classifier.in_flight += 1
        self._classifier.most_in_flight = max(self._classifier.most_in_flight, self._classifier.in_flight)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._classifier.in_flight -= 1
        self._classifier.outcomes[self._id] = OUTCOME_OK if error is None else name_outcome(error)

    def change_parameters(self, *, model: str | None, top_k: int, deadline_ms: float | None) -> None:
        self.model = self._classifier.find(model, top_k)
        self._top_k = top_k
        self._classifier.deadlines_ms[-1] = deadline_ms

    async def classify(self, encoded: bytes) -> Answer:
        await self._classifier.take(encoded)
        return self._classifier.answer(self._id, self.model.card, self._top_k, encoded)


class FakePreviewRequest(PreviewRequest):
    def __init__(self, classifier: FakeClassifier) -> None:
        self._classifier = classifier

    def __enter__(self) -> Self:
        self._classifier.in_flight += 1
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._classifier.in_flight -= 1

    async def draw(self, encoded: bytes) -> Preview:
        await self._classifier.take(encoded)
        return self._classifier.draw(encoded)
