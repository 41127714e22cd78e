"""Images a second of the service in a container, beside the same service outside, in turns."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from bench.closed_loop import ClosedLoad, run_closed_loop
from bench.containers.engine import HARDENED, ONE_MODEL, SERVICE, container, docker, host_address, wait_ready
from bench.containers.result import BY_ADDRESS, BY_LOOPBACK, HOST_NETWORK, OUTSIDE, Rate
from bench.photographs import write_photographs
from bench.running import find_free_port, running
from bench.servers import list_servers

_T = TypeVar("_T")
CONNECTIONS = 16
_NO_CACHE = ("--env", "LIGHTBOX_CACHE_BYTES=0")
"""The photographs repeat, so a cache would answer for the model."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`sessions` times everything is started anew, warmed, and loaded for `rounds` turns of `seconds` each."""

    sessions: int = 4
    rounds: int = 6
    seconds: int = 4
    warm_seconds: int = 4


@dataclass(frozen=True, slots=True)
class _Side:
    name: str
    url: str
    freeze: Callable[[], object]
    thaw: Callable[[], object]


def measure_rates(plan: Plan) -> Iterator[Rate]:
    """Load every side in turns.

    Raises:
        EngineError: A container did not come up.
        PeerUnavailableError: The service outside did not.
    """
    with TemporaryDirectory(prefix="lightbox-bench-") as name:
        photographs = Path(name) / "photographs"
        write_photographs(photographs)
        for session in range(plan.sessions):
            with _sides(Path(name) / str(session)) as sides:
                for side in sides:
                    _load(side, photographs, plan.warm_seconds)
                for number in range(plan.rounds):
                    for side in take_turns(sides, session * plan.rounds + number):
                        load = _load(side, photographs, plan.seconds)
                        yield Rate(side=side.name, turn=session * plan.rounds + number, **asdict(load))


def take_turns(sides: Sequence[_T], turn: int) -> list[_T]:
    """Return the sides in a turn's order; every order comes up equally often."""
    orders = list(permutations(sides))
    return list(orders[turn % len(orders)])


@contextmanager
def _sides(folder: Path) -> Iterator[list[_Side]]:
    """Run all sides until the end of the block, and each only while it is loaded: idle ones take time, too."""
    with ExitStack() as stack:
        sides = [
            stack.enter_context(_outside(folder)),
            *(stack.enter_context(_inside(name)) for name in (HOST_NETWORK, BY_ADDRESS, BY_LOOPBACK)),
        ]
        for side in sides:
            side.freeze()
            stack.callback(side.thaw)
        yield sides


@contextmanager
def _outside(folder: Path) -> Iterator[_Side]:
    with running(list_servers()[0], folder, {}) as server:
        send = server.processes.send_signal
        yield _Side(OUTSIDE, server.url, lambda: send(signal.SIGSTOP), lambda: send(signal.SIGCONT))


@contextmanager
def _inside(name: str) -> Iterator[_Side]:
    port = find_free_port()
    if name == HOST_NETWORK:
        network = ["--network=host", "--env", f"LIGHTBOX_PORT={port}", "--env", "LIGHTBOX_HOST=127.0.0.1"]
    else:
        network = ["--publish", f"{port}:3000" if name == BY_ADDRESS else f"127.0.0.1:{port}:3000"]
    with container(SERVICE, *HARDENED, *ONE_MODEL, *_NO_CACHE, *network) as started:
        wait_ready(started, port, "/readyz")
        address = host_address(started) if name == BY_ADDRESS else "127.0.0.1"
        yield _Side(
            name,
            f"http://{address}:{port}",
            lambda: docker("pause", started),
            lambda: docker("unpause", started),
        )


def _load(side: _Side, photographs: Path, seconds: int) -> ClosedLoad:
    side.thaw()
    try:
        return run_closed_loop(f"{side.url}/v1/classify", photographs, {}, connections=CONNECTIONS, duration_s=seconds)
    finally:
        side.freeze()
