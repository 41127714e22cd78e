"""Threads that decode images, interactive ones first."""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from bento_service.domain.requests import Priority
from bento_service.errors import DrainingError, LightboxError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One job in a `DecodePool`."""

    job: Callable[[], None]
    priority: Priority
    on_dropped: Callable[[], None]
    submitted_s: float


class DecodePool:
    """Runs jobs on a fixed number of threads: interactive before bulk, first come, first served within each.

    Of several threads, bulk jobs leave one free, so that interactive work starts at once. Endless interactive work does
    not starve bulk: once the oldest bulk job has waited for `patience_s`, and no other was taken within that time, it
    goes first. `clock` gives seconds, monotonic. Thread-safe.
    """

    def __init__(
        self, threads: int, *, patience_s: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._bulk_taken_s = -math.inf
        self._waiting: dict[Priority, deque[Task]] = {priority: deque() for priority in Priority}
        self._max_bulk = max(1, threads - 1)
        self._running_bulk = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, name=f"lightbox-decode-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that no thread has taken yet."""
        return sum(map(len, self._waiting.values()))

    async def run(self, job: Callable[[], None], future: "asyncio.Future[Result]", *, priority: Priority) -> Result:
        """Run a job that resolves `future`, itself or through another thread, and wait for the future.

        What the job raises becomes the future's error. Cancelling the call withdraws the job if no thread has taken it.

        Raises:
            DrainingError: The pool was closed before a thread took the job.
        """

        def fail(error: Exception) -> None:
            call_on_loop(future, lambda: future.set_exception(error))

        def guarded() -> None:
            try:
                job()
            # The request must get its answer whatever a library does, `sys.exit` and panics in Rust included.
            except BaseException as error:
                if not isinstance(error, LightboxError):
                    logger.exception("Decoding an image failed.")
                fail(error if isinstance(error, Exception) else _wrap(error))

        task = self.submit(guarded, priority=priority, on_dropped=lambda: fail(_closed_error()))
        try:
            return await future
        except asyncio.CancelledError:
            self.withdraw(task)
            raise

    async def call(self, function: Callable[[], Result], *, priority: Priority) -> Result:
        """Return what `function` returns in one of the threads; as `run` otherwise."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def job() -> None:
            result = function()
            call_on_loop(future, lambda: future.set_result(result))

        return await self.run(job, future, priority=priority)

    def submit(
        self,
        job: Callable[[], None],
        *,
        priority: Priority = Priority.INTERACTIVE,
        on_dropped: Callable[[], None] = lambda: None,
    ) -> Task:
        """Queue a job, whose errors are logged.

        If the pool is closed before a thread takes it, `on_dropped` is called from the thread that closes.

        Raises:
            DrainingError: The pool is closed.
        """
        task = Task(job, priority, on_dropped, self._clock())
        with self._changed:
            if self._is_closed:
                raise _closed_error()
            self._waiting[priority].append(task)
            self._changed.notify()
        return task

    def withdraw(self, task: Task) -> None:
        """Take a job out if no thread has taken it."""
        with self._changed, suppress(ValueError):
            self._waiting[task.priority].remove(task)

    def close(self, *, wait: bool = True) -> None:
        """Drop the jobs that wait, and end each thread after its current job; `wait` for that."""
        with self._changed:
            dropped = [task for line in self._waiting.values() for task in line]
            for line in self._waiting.values():
                line.clear()
            self._is_closed = True
            self._changed.notify_all()
        for task in dropped:
            task.on_dropped()
        if wait:
            for thread in self._threads:
                thread.join()

    def _run(self) -> None:
        while task := self._take():
            try:
                task.job()
            # No job may end its thread, not even one that calls `sys.exit`.
            except BaseException:
                logger.exception("A decoding job raised; its thread goes on.")
            finally:
                self._finish(task)

    def _take(self) -> Task | None:
        with self._changed:
            while True:
                interactive, bulk = self._waiting[Priority.INTERACTIVE], self._waiting[Priority.BULK]
                may_take_bulk = bulk and self._running_bulk < self._max_bulk
                if may_take_bulk and (not interactive or self._is_overdue(bulk[0])):
                    self._running_bulk += 1
                    self._bulk_taken_s = self._clock()
                    return bulk.popleft()
                if interactive:
                    return interactive.popleft()
                if self._is_closed:
                    return None
                self._changed.wait()

    def _is_overdue(self, task: Task) -> bool:
        since_s = self._clock() - self._patience_s
        return task.submitted_s <= since_s and self._bulk_taken_s <= since_s

    def _finish(self, task: Task) -> None:
        if task.priority is Priority.BULK:
            with self._changed:
                self._running_bulk -= 1
                # A thread that found no bulk place may be asleep, while the one that frees it takes other work.
                if self._waiting[Priority.BULK]:
                    self._changed.notify()


def call_on_loop(future: "asyncio.Future[Result]", settle: Callable[[], None]) -> None:
    """Call `settle` on the future's event loop unless the future is already done. From any thread."""

    def call() -> None:
        if not future.done():
            settle()

    try:
        future.get_loop().call_soon_threadsafe(call)
    except RuntimeError:
        logger.warning("The event loop is closed; the result of a decoding job was dropped.")


def _closed_error() -> DrainingError:
    return DrainingError("This server shut down before the image was decoded. Try again.", retry_after_s=1.0)


def _wrap(error: BaseException) -> RuntimeError:
    """Wrap what is no `Exception`: raised on the event loop, it would end that and not the one request."""
    wrapped = RuntimeError(f"decoding an image ended with {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped
