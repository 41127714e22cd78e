import threading
from collections.abc import Callable, Iterator

import pytest

from bento_service.domain.requests import Priority
from bento_service.errors import DrainingError
from bento_service.pipeline.decode_pool import DecodePool
from tests.fakes.clock import FakeClock
from tests.fakes.engine import PATIENCE_S


class Decoder:
    """Jobs that say when they begin and wait until they may end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()

    def make(self, name: str) -> Callable[[], None]:
        def job() -> None:
            self.begun.append(name)
            self.entered.release()
            if not self.gate.wait(PATIENCE_S):
                raise TimeoutError("nobody opened the gate")

        return job

    def wait_for_thread(self) -> None:
        if not self.entered.acquire(timeout=PATIENCE_S):
            raise TimeoutError("no thread took the job")


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.gate.set()


def drain(pool: DecodePool) -> None:
    """Return once the pool's only thread has done what it was given so far."""
    done = threading.Event()
    pool.submit(done.set, priority=Priority.BULK)
    assert done.wait(PATIENCE_S)


def test_interactive_jobs_pass_bulk_ones_and_each_kind_keeps_its_order(decoder: Decoder) -> None:
    pool = DecodePool(1)
    pool.submit(decoder.make("first"))
    decoder.wait_for_thread()
    for name in ("bulk 1", "bulk 2"):
        pool.submit(decoder.make(name), priority=Priority.BULK)
    for name in ("interactive 1", "interactive 2"):
        pool.submit(decoder.make(name))
    decoder.gate.set()
    drain(pool)
    assert decoder.begun == ["first", "interactive 1", "interactive 2", "bulk 1", "bulk 2"]
    pool.close()


def test_a_bulk_job_that_waited_for_long_goes_first_and_the_next_one_has_to_wait_as_long(decoder: Decoder) -> None:
    clock = FakeClock()
    pool = DecodePool(1, patience_s=1.0, clock=clock)
    pool.submit(decoder.make("first"))
    decoder.wait_for_thread()
    for name in ("bulk 1", "bulk 2"):
        pool.submit(decoder.make(name), priority=Priority.BULK)
    for name in ("interactive 1", "interactive 2"):
        pool.submit(decoder.make(name))
    clock.advance(1.0)
    decoder.gate.set()
    drain(pool)
    assert decoder.begun == ["first", "bulk 1", "interactive 1", "interactive 2", "bulk 2"]
    pool.close()


def test_bulk_jobs_leave_a_thread_to_interactive_ones(decoder: Decoder) -> None:
    pool = DecodePool(2)
    for number in range(3):
        pool.submit(decoder.make(f"bulk {number}"), priority=Priority.BULK)
    decoder.wait_for_thread()
    pool.submit(decoder.make("interactive"))
    decoder.wait_for_thread()
    assert decoder.begun == ["bulk 0", "interactive"]
    decoder.gate.set()
    for _ in range(2):
        decoder.wait_for_thread()
    assert sorted(decoder.begun) == ["bulk 0", "bulk 1", "bulk 2", "interactive"]
    pool.close()


def test_a_job_that_waits_can_be_taken_out_and_one_that_runs_cannot(decoder: Decoder) -> None:
    pool = DecodePool(1)
    running = pool.submit(decoder.make("running"))
    decoder.wait_for_thread()
    waiting = pool.submit(decoder.make("waiting"))
    assert pool.waiting == 1
    assert pool.withdraw(waiting)
    assert not pool.withdraw(waiting)
    assert not pool.withdraw(running)
    decoder.gate.set()
    drain(pool)
    assert decoder.begun == ["running"]
    pool.close()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_job_that_raises_costs_no_thread(error: type[BaseException]) -> None:
    def job() -> None:
        raise error

    pool = DecodePool(1)
    pool.submit(job)
    pool.submit(job, priority=Priority.BULK)
    drain(pool)
    pool.close()


def test_closing_drops_what_waits_and_ends_after_what_runs(decoder: Decoder) -> None:
    pool = DecodePool(1)
    pool.submit(decoder.make("running"))
    decoder.wait_for_thread()
    pool.submit(decoder.make("waiting"))
    assert pool.close(wait=False) == 1
    decoder.gate.set()
    pool.close()
    assert decoder.begun == ["running"]


def test_a_closed_pool_takes_no_job() -> None:
    pool = DecodePool(1)
    pool.close()
    with pytest.raises(DrainingError):
        pool.submit(lambda: None)
