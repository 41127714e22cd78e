"""What the HTTP edge needs from the rest of the service, and no more."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol

from bento_service.domain.requests import Answer, Preview, Priority
from bento_service.domain.service import ServedModel
from bento_service.errors import LightboxError
from bento_service.http.requests.budget import ByteBudget
from bento_service.journal.base import JournalReader
from bento_service.settings import Settings

OnRequest = Callable[[str, str, int, float], None]
"""Called with route template, method, status and seconds of each request. The method is whatever the client named."""


class Pending(Protocol):
    """One admitted image; see `bento_service.pipeline.request.ImageRequest`."""

    def __enter__(self) -> "Pending":
        """Take a place in the queue."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the place and write the receipt."""

    def change_parameters(self, *, model: str | None, top_k: int, deadline_ms: float | None) -> None:
        """Replace what was asked for at admission."""

    async def classify(self, encoded: bytes) -> Answer:
        """Decode, schedule, infer."""


class PreviewRequest(Protocol):
    """One admitted preview; see `bento_service.pipeline.preview_request.PreviewRequest`."""

    def __enter__(self) -> "PreviewRequest":
        """Take a place in the queue."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the place."""

    async def draw(self, encoded: bytes) -> Preview:
        """Decode and draw."""


class Admission(Protocol):
    """The door to the models; see `bento_service.pipeline.classifier.Classifier`."""

    @property
    def is_overloaded(self) -> bool:
        """Whether a further interactive image without a deadline would be refused."""

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
    ) -> Pending:
        """Admit one image before any of its bytes are read."""

    def record_refusal(
        self, error: LightboxError, *, request_id: str, model: str | None, received_at: datetime, total_ms: float
    ) -> None:
        """Write the receipt of a request that was refused with the error of another, which asked for the same."""

    def open_preview(self) -> PreviewRequest:
        """Admit one preview before any of its bytes are read."""

    def models(self) -> tuple[ServedModel, ...]:
        """Return the served models, in the order of the settings."""


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class AppState:
    """The wired parts that requests are answered with. `clock` tells the time in UTC."""

    classifier: Admission
    journal: JournalReader
    settings: Settings
    budget: ByteBudget
    clock: Callable[[], datetime] = utc_now


StateProvider = Callable[[], AppState]
"""Returns the wired parts, or raises `NotReadyError` while they are not."""
