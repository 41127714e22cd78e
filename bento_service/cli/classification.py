"""Classifies many files, several at a time: by a running service, or in this process."""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from bento_service.errors import InvalidParameterError, LightboxError, UnknownModelError
from lightbox_client import Client, ProblemError
from lightbox_client import errors as client_errors
from lightbox_client.contract import Classification, Priority
from lightbox_client.payload import read_payload

if TYPE_CHECKING:
    from bento_service.domain.requests import Answer
    from bento_service.pipeline.classifier import Classifier

UNREADABLE_FILE = "unreadable_file"
TIMEOUT = "timeout"
CONNECTION_BROKEN = "connection_broken"


class FileFailedError(Exception):
    """One file got no answer; others may.

    `code` is the HTTP contract's, or one of the three above where the service sent none.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """The result of one file, or of what names it: either `answer` or `failure` is set."""

    item: Item
    answer: Result | None = None
    failure: FileFailedError | None = None


Classified: TypeAlias = Outcome[Path, Classification]
Classify: TypeAlias = Callable[[Path], Awaitable[Classification]]
"""Classifies one file; raises `FileFailedError`, or an error that concerns every file and ends the run."""


async def classify_in_order(
    items: Sequence[Item], classify: Callable[[Item], Awaitable[Result]], *, concurrency: int
) -> AsyncIterator[Outcome[Item, Result]]:
    """Yield the outcome of each item in its order, with at most `concurrency` in flight."""
    tasks: deque[asyncio.Task[Outcome[Item, Result]]] = deque()
    try:
        for item in items:
            if len(tasks) == concurrency:
                yield await tasks.popleft()
            tasks.append(asyncio.create_task(_attempt(item, classify)))
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def by_service(client: Client, *, model: str | None, top_k: int, concurrency: int) -> AsyncIterator[Classify]:
    """Classify by a running service, over `concurrency` connections."""
    with ThreadPoolExecutor(concurrency, thread_name_prefix="classify") as threads:

        async def classify(path: Path) -> Classification:
            ask = partial(ask_service, client, path, model=model, top_k=top_k)
            return await asyncio.get_running_loop().run_in_executor(threads, ask)

        yield classify


@asynccontextmanager
async def in_process(
    open_classifier: "Callable[[], AbstractAsyncContextManager[Classifier]]", *, model: str | None, top_k: int
) -> AsyncIterator[Classify]:
    """Classify in this process; raises `LightboxError` where the classifier cannot be opened."""
    from bento_service.http.responses.serializers import to_classification  # noqa: PLC0415 - loads Starlette

    async with open_classifier() as classifier:

        async def classify(path: Path) -> Classification:
            with failing_alone():
                payload = await asyncio.to_thread(read_payload, path)
            return to_classification(await classify_here(classifier, payload.encoded, model=model, top_k=top_k))

        yield classify


async def classify_here(classifier: "Classifier", encoded: bytes, *, model: str | None, top_k: int) -> "Answer":
    """Classify one image in this process; raises as a `Classify`."""
    with (
        failing_alone(),
        classifier.open(
            request_id=uuid.uuid4().hex,
            model=model,
            top_k=top_k,
            deadline_ms=None,
            started_s=time.perf_counter(),
        ) as request,
    ):
        return await request.classify(encoded)


async def _attempt(item: Item, classify: Callable[[Item], Awaitable[Result]]) -> Outcome[Item, Result]:
    try:
        return Outcome(item, answer=await classify(item))
    except FileFailedError as error:
        return Outcome(item, failure=error)


def ask_service(
    client: Client, path: Path, *, model: str | None, top_k: int, priority: Priority | None = None
) -> Classification:
    """Classify one file by a running service; raises as a `Classify`."""
    with failing_alone(client):
        return client.classify(path, model=model, top_k=top_k, priority=priority)


@contextmanager
def failing_alone(client: Client | None = None) -> Iterator[None]:
    """Turn the errors of a single file into `FileFailedError`, by a service or, without a `client`, in this process.

    Those that concern every file pass: an unknown model, a wrong parameter, a service that cannot be reached.
    """
    try:
        yield
    except (UnknownModelError, InvalidParameterError):
        raise
    except LightboxError as error:
        raise FileFailedError(error.code, error.message) from error
    except (client_errors.UnknownModelError, client_errors.InvalidRequestError, client_errors.NotReadyError):
        raise
    except ProblemError as error:
        raise FileFailedError(error.code, error.detail) from error
    except client_errors.UnreadableImageFileError as error:
        raise FileFailedError(UNREADABLE_FILE, error.reason) from error
    except client_errors.ServiceTimeoutError as error:
        raise FileFailedError(TIMEOUT, str(error)) from error
    except client_errors.ServiceUnreachableError as error:
        # A connection may break over one file, for example a huge one that is refused while it is still being sent.
        if client is not None and client.is_ready():
            raise FileFailedError(CONNECTION_BROKEN, str(error)) from error
        raise
