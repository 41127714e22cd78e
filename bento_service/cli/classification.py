"""Classifies many files, several at a time, whoever does the work; here, a running service."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lightbox_client import Client, ProblemError
from lightbox_client import errors as client_errors
from lightbox_client.contract import Classification

UNREADABLE_FILE = "unreadable_file"
TIMEOUT = "timeout"
CONNECTION_BROKEN = "connection_broken"


class FileFailedError(Exception):
    """One file got no answer; the others may.

    `code` is the HTTP contract's, or one of the three above where no answer came over HTTP.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file: exactly one of `answer` and `failure` is set."""

    path: Path
    answer: Classification | None = None
    failure: FileFailedError | None = None


class Classify(Protocol):
    """Classifies one file.

    Raises `FileFailedError` where only this file is concerned. Anything else would meet every file and ends the run.
    """

    async def __call__(self, path: Path) -> Classification:
        """Return the file's answer."""


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
    """Let a running service do it, with `concurrency` connections."""
    with ThreadPoolExecutor(concurrency, thread_name_prefix="classify") as threads:

        async def classify(path: Path) -> Classification:
            return await asyncio.get_running_loop().run_in_executor(threads, _ask, client, path, model, top_k)

        yield classify


async def _attempt(path: Path, classify: Classify) -> Outcome:
    try:
        return Outcome(path, answer=await classify(path))
    except FileFailedError as error:
        return Outcome(path, failure=error)


def _ask(client: Client, path: Path, model: str | None, top_k: int) -> Classification:
    try:
        return client.classify(path, model=model, top_k=top_k)
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
        if client.is_ready():
            raise FileFailedError(CONNECTION_BROKEN, str(error)) from error
        raise
