import pytest

from bento_service.domain.service import ServiceState
from bento_service.worker.hang_detector import HANG_CHECKS, LOADING_CHECKS, HangDetector
from bento_service.worker.shared_folder import WorkerStatus

WORKER = 4242


def status(state: ServiceState = ServiceState.READY, renewed_s: float = 1_000.0) -> WorkerStatus:
    return WorkerStatus(renewed_s, state, is_accepting=True)


def check(detector: HangDetector, said: WorkerStatus | None, times: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for _ in range(times):
        found = detector.check({WORKER: said})
    return found


@pytest.mark.parametrize(
    ("state", "limit"),
    [
        (ServiceState.READY, HANG_CHECKS),
        (ServiceState.DRAINING, HANG_CHECKS),
        (ServiceState.LOADING, LOADING_CHECKS),
    ],
)
def test_a_worker_hangs_after_so_many_checks_without_a_new_status(state: ServiceState, limit: int) -> None:
    detector = HangDetector()

    assert check(detector, status(state), limit) == {}
    assert check(detector, status(state), 1) == {WORKER: limit}


@pytest.mark.parametrize("renewed_s", [1_002.0, 5.0], ids=["later", "after the clock was set back"])
def test_a_new_status_starts_the_count_again(renewed_s: float) -> None:
    detector = HangDetector()
    check(detector, status(), HANG_CHECKS)

    assert check(detector, status(renewed_s=renewed_s), HANG_CHECKS) == {}


def test_a_worker_without_a_status_never_hangs() -> None:
    assert check(HangDetector(), None, LOADING_CHECKS + 2) == {}


def test_a_grant_gives_a_worker_a_few_more_checks() -> None:
    detector = HangDetector()
    check(detector, status(), HANG_CHECKS)
    detector.grant(2, hang_checks=15)

    assert detector.check({WORKER: status()}, hang_checks=15) == {}
    assert detector.check({WORKER: status()}, hang_checks=15) == {WORKER: 15}
