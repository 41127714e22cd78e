"""Classifies files in this process, with no server between."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from bento_service.cli.classification import UNREADABLE_FILE, Classify, FileFailedError
from bento_service.domain.requests import Answer
from bento_service.errors import InvalidParameterError, LightboxError, UnknownModelError
from bento_service.http.responses.serializers import to_classification
from lightbox_client.contract import Classification
from lightbox_client.errors import UnreadableImageFileError
from lightbox_client.payload import read_payload


class Pending(Protocol):
    """One admitted image."""

    async def classify(self, encoded: bytes) -> Answer:
        """Return the image's answer."""


class InProcessClassifier(Protocol):
    """The part of the classifier that is needed here."""

    def open(
        self, *, request_id: str, model: str | None, top_k: int, deadline_ms: float | None, started_s: float
    ) -> AbstractContextManager[Pending]:
        """Admit one image."""


OpenClassifier = Callable[[], AbstractAsyncContextManager[InProcessClassifier]]


@asynccontextmanager
async def in_process(open_classifier: OpenClassifier, *, model: str | None, top_k: int) -> AsyncIterator[Classify]:
    """Open a classifier and let it do the work.

    Raises:
        LightboxError: The classifier cannot be opened.
    """
    async with open_classifier() as classifier:

        async def classify(path: Path) -> Classification:
            try:
                return await _classify_one(classifier, path, model, top_k)
            except (UnknownModelError, InvalidParameterError):
                raise
            except LightboxError as error:
                raise FileFailedError(error.code, error.message) from error
            except UnreadableImageFileError as error:
                raise FileFailedError(UNREADABLE_FILE, error.reason) from error

        yield classify


async def _classify_one(classifier: InProcessClassifier, path: Path, model: str | None, top_k: int) -> Classification:
    payload = await asyncio.to_thread(read_payload, path)
    admitted = classifier.open(
        request_id=uuid.uuid4().hex, model=model, top_k=top_k, deadline_ms=None, started_s=time.perf_counter()
    )
    with admitted as pending:
        return to_classification(await pending.classify(payload.encoded))
