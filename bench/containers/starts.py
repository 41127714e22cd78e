"""How long it takes from `docker run` until a container serves."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.containers.engine import DASHBOARD, HARDENED, ONE_MODEL, SERVICE, container, wait_ready
from bench.containers.result import DASHBOARD_START, LITE0_START, SERVICE_START, Start
from bench.running import find_free_port


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    image: str
    port: int
    path: str
    options: Sequence[str] = ()


_CASES = (
    _Case(SERVICE_START, SERVICE, 3000, "/readyz"),
    _Case(LITE0_START, SERVICE, 3000, "/readyz", ONE_MODEL),
    _Case(DASHBOARD_START, DASHBOARD, 8501, "/_stcore/health"),
)


def measure_starts(rounds: int) -> Iterator[Start]:
    """Start each container once a round.

    Raises:
        EngineError: One did not come up.
    """
    for number in range(rounds):
        for case in _CASES:
            yield Start(case.name, number, _measure_start_s(case))


def _measure_start_s(case: _Case) -> float:
    port = find_free_port()
    begun_s = time.monotonic()
    with container(case.image, *HARDENED, "--publish", f"127.0.0.1:{port}:{case.port}", *case.options) as name:
        wait_ready(name, port, case.path)
        return time.monotonic() - begun_s
