import threading
from collections.abc import Callable, Iterator

import pytest

from bento_service.domain.requests import Priority
from bento_service.errors import DrainingError
from bento_service.pipeline.decode_pool import DecodePool
from tests.fakes.clock import FakeClock
from tests.fakes.engine import PATIENCE_S


class Decoder:
    """A pool whose jobs wait at a gate; `begun` has their names in the order in which they began."""

    def __init__(self, threads: int = 1, *, patience_s: float = 1e9) -> None:
        self.clock = FakeClock()
        self.pool = DecodePool(threads, patience_s=patience_s, clock=self.clock)
        self.begun: list[str] = []
        self.gate = threading.Event()
        self._entered = threading.Semaphore(0)

    def submit(self, *names: str, priority: Priority = Priority.INTERACTIVE) -> None:
        for name in names:
            self.pool.submit(self._make_job(name), priority=priority)

    def occupy(self) -> None:
        """Keep a thread at the gate."""
        self.submit("first")
        self.wait_for_thread()

    def wait_for_thread(self) -> None:
        assert self._entered.acquire(timeout=PATIENCE_S)

    def finish(self) -> None:
        """Open the gate, and return once the pool's only thread has done what it was given so far."""
        self.gate.set()
        drain(self.pool)

    def _make_job(self, name: str) -> Callable[[], None]:
        def job() -> None:
            self.begun.append(name)
            self._entered.release()
            assert self.gate.wait(PATIENCE_S)

        return job


@pytest.fixture
def decoders() -> Iterator[Callable[..., Decoder]]:
    made: list[Decoder] = []

    def make(threads: int = 1, *, patience_s: float = 1e9) -> Decoder:
        made.append(Decoder(threads, patience_s=patience_s))
        return made[-1]

    yield make
    for decoder in made:
        decoder.gate.set()
        decoder.pool.close()


def drain(pool: DecodePool) -> None:
    done = threading.Event()
    pool.submit(done.set, priority=Priority.BULK)
    assert done.wait(PATIENCE_S)


def test_interactive_jobs_go_before_bulk_ones_each_in_order(decoders: Callable[..., Decoder]) -> None:
    decoder = decoders()
    decoder.occupy()
    decoder.submit("bulk 1", "bulk 2", priority=Priority.BULK)
    decoder.submit("interactive 1", "interactive 2")
    decoder.finish()
    assert decoder.begun == ["first", "interactive 1", "interactive 2", "bulk 1", "bulk 2"]


def test_an_overdue_bulk_job_goes_first_and_the_next_waits_as_long(decoders: Callable[..., Decoder]) -> None:
    decoder = decoders(patience_s=1.0)
    decoder.occupy()
    decoder.submit("bulk 1", "bulk 2", priority=Priority.BULK)
    decoder.submit("interactive 1", "interactive 2")
    decoder.clock.advance(1.0)
    decoder.finish()
    assert decoder.begun == ["first", "bulk 1", "interactive 1", "interactive 2", "bulk 2"]


def test_bulk_jobs_leave_a_thread_to_interactive_ones(decoders: Callable[..., Decoder]) -> None:
    decoder = decoders(2)
    decoder.submit("bulk 0", "bulk 1", "bulk 2", priority=Priority.BULK)
    decoder.wait_for_thread()
    decoder.submit("interactive")
    decoder.wait_for_thread()
    assert decoder.begun == ["bulk 0", "interactive"]
    decoder.gate.set()
    for _ in range(2):
        decoder.wait_for_thread()
    assert sorted(decoder.begun) == ["bulk 0", "bulk 1", "bulk 2", "interactive"]


def test_a_waiting_job_can_be_withdrawn_and_a_running_one_cannot(decoders: Callable[..., Decoder]) -> None:
    decoder = decoders()
    decoder.occupy()
    waiting = decoder.pool.submit(lambda: decoder.begun.append("withdrawn"))
    assert decoder.pool.waiting == 1
    for _ in range(2):
        decoder.pool.withdraw(waiting)
    assert decoder.pool.waiting == 0
    decoder.finish()
    assert decoder.begun == ["first"]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_job_that_raises_ends_no_thread(error: type[BaseException]) -> None:
    def job() -> None:
        raise error

    pool = DecodePool(1)
    pool.submit(job)
    pool.submit(job, priority=Priority.BULK)
    drain(pool)
    pool.close()


def test_closing_drops_waiting_jobs_and_ends_after_running_ones(decoders: Callable[..., Decoder]) -> None:
    decoder = decoders()
    dropped: list[None] = []
    decoder.occupy()
    decoder.pool.submit(lambda: decoder.begun.append("waiting"), on_dropped=lambda: dropped.append(None))
    decoder.pool.close(wait=False)
    decoder.gate.set()
    decoder.pool.close()
    assert (decoder.begun, len(dropped)) == (["first"], 1)
    with pytest.raises(DrainingError):
        decoder.pool.submit(lambda: None)
