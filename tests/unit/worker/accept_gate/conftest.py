import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento_service.worker.workers_folder import own_folder
from tests.fakes.clock import FakeTimeLoop
from tests.fakes.processes import living_process
from tests.unit.worker.accept_gate.workers import Sibling


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the workers of a service meet."""
    return own_folder(tmp_path)


@pytest.fixture
def sibling(folder: Path) -> Iterator[Sibling]:
    """One that lives, and has said nothing yet."""
    with living_process() as process_id:
        yield Sibling(folder, process_id)


@pytest.fixture
def stops() -> Iterator[list[int]]:
    """The signals that have reached the server's own handler."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, before)
