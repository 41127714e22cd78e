"""Classifies many files, several at a time: by a running service, or in this process."""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bento_service.errors import InvalidParameterError, LightboxError, UnknownModelError
from lightbox_client import Client, ProblemError
from lightbox_client import errors as client_errors
from lightbox_client.contract import Classification
from lightbox_client.payload import read_payload

if TYPE_CHECKING:
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one file: either `answer` or `failure` is set."""

    path: Path
    answer: Classification | None = None
    failure: FileFailedError | None = None


Classify: TypeAlias = Callable[[Path], Awaitable[Classification]]
"""Classifies one file; raises `FileFailedError`, or an error that concerns every file and ends the run."""


async def classify_in_order(paths: Sequence[Path], classify: Classify, *, concurrency: int) -> AsyncIterator[Outcome]:
    """Yield each file's outcome in the order of `paths`, with at most `concurrency` files in flight."""
    tasks: deque[asyncio.Task[Outcome]] = deque()
    try:
        for path in paths:
            if len(tasks) == concurrency:
                yield await tasks.popleft()
            tasks.append(asyncio.create_task(_attempt(path, classify)))
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
            return await asyncio.get_running_loop().run_in_executor(threads, _ask, client, path, model, top_k)

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
                with classifier.open(
                    request_id=uuid.uuid4().hex,
                    model=model,
                    top_k=top_k,
                    deadline_ms=None,
                    started_s=time.perf_counter(),
                ) as request:
                    return to_classification(await request.classify(payload.encoded))

        yield classify


async def _attempt(path: Path, classify: Classify) -> Outcome:
    try:
        return Outcome(path, answer=await classify(path))
    except FileFailedError as error:
        return Outcome(path, failure=error)


def _ask(client: Client, path: Path, model: str | None, top_k: int) -> Classification:
    with failing_alone(client):
        return client.classify(path, model=model, top_k=top_k)


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
