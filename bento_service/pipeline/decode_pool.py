"""Threads that decode images, interactive ones first."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable

from bento_service.domain.requests import Priority

logger = logging.getLogger(__name__)


class Ticket:
    """One job's place in a `DecodePool`."""

    def __init__(
        self,
        pool: "DecodePool",
        job: Callable[[], None],
        priority: Priority,
        on_dropped: Callable[[], None],
        submitted_s: float,
    ) -> None:
        self.job = job
        self.on_dropped = on_dropped
        self.priority = priority
        self.submitted_s = submitted_s
        self._pool = pool

    def cancel(self) -> bool:
        """Take the job out if it has not started; return whether it will never run. Thread-safe."""
        return self._pool.withdraw(self)


class DecodePool:
    """Runs jobs on a fixed number of threads: interactive before bulk, first come, first served within each.

    Where there is more than one thread, bulk jobs leave one of them free, so that interactive work starts at once.
    Endless interactive work does not starve bulk: once the oldest bulk job has waited for `patience_s`, and no other
    was taken within that time, it goes first.
    A job that raises costs a log entry and nothing else. Thread-safe.
    """

    def __init__(
        self,
        threads: int,
        *,
        patience_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        name: str = "lightbox-decode",
    ) -> None:
        """Start the threads.

        Args:
            threads: How many.
            patience_s: After this long a bulk job goes before interactive ones.
            clock: Seconds, monotonic.
            name: What the threads' names begin with.
        """
        self._patience_s = patience_s
        self._clock = clock
        self._bulk_taken_s = -math.inf
        self._waiting: dict[Priority, deque[Ticket]] = {priority: deque() for priority in Priority}
        self._max_bulk = max(1, threads - 1)
        self._running_bulk = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that no thread has taken yet."""
        return sum(map(len, self._waiting.values()))

    def submit(
        self,
        job: Callable[[], None],
        *,
        priority: Priority = Priority.INTERACTIVE,
        on_dropped: Callable[[], None] = lambda: None,
    ) -> Ticket:
        """Hand in a job.

        Args:
            job: Called by one of the threads.
            priority: Interactive jobs go first.
            on_dropped: Called instead if the pool closes before a thread takes the job, by whoever closes it.

        Raises:
            RuntimeError: The pool is closed.
        """
        ticket = Ticket(self, job, priority, on_dropped, self._clock())
        with self._changed:
            if self._is_closed:
                raise RuntimeError("the decode pool is closed and takes no more jobs")
            self._waiting[priority].append(ticket)
            self._changed.notify()
        return ticket

    def withdraw(self, ticket: Ticket) -> bool:
        """Take a job out if it has not started; return whether it was still there."""
        with self._changed:
            line = self._waiting[ticket.priority]
            if ticket not in line:
                return False
            line.remove(ticket)
            return True

    def close(self, *, wait: bool = True) -> int:
        """Drop what waits and let the threads go after the jobs in them; return how many were dropped.

        Args:
            wait: Whether to return only when the threads are gone.
        """
        with self._changed:
            dropped = [ticket for line in self._waiting.values() for ticket in line]
            for line in self._waiting.values():
                line.clear()
            self._is_closed = True
            self._changed.notify_all()
        for ticket in dropped:
            ticket.on_dropped()
        if wait:
            for thread in self._threads:
                thread.join()
        return len(dropped)

    def _run(self) -> None:
        while ticket := self._take():
            try:
                ticket.job()
            # A thread serves everybody: no job may end it, not even one that calls `sys.exit`.
            except BaseException:
                logger.exception("A decoding job raised; its thread goes on.")
            finally:
                self._finish(ticket)

    def _take(self) -> Ticket | None:
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

    def _is_overdue(self, ticket: Ticket) -> bool:
        since_s = self._clock() - self._patience_s
        return ticket.submitted_s <= since_s and self._bulk_taken_s <= since_s

    def _finish(self, ticket: Ticket) -> None:
        if ticket.priority is Priority.BULK:
            with self._changed:
                self._running_bulk -= 1
                # One that found the bulk places taken may be asleep while the thread that frees one takes other work.
                if self._waiting[Priority.BULK]:
                    self._changed.notify()
