"""The edge wired over fakes, alone or behind a guard."""

from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import FastAPI

from bento_service.domain.runner import Device
from bento_service.domain.service import ServiceState, ServiceStatus
from bento_service.http.app import create_app
from bento_service.http.bento_gateway import BentoGateway
from bento_service.http.state import AppState
from tests.fakes.bento import FakeBento

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def status_of(state: ServiceState) -> ServiceStatus:
    return ServiceStatus(
        state=state,
        device=Device("cpu", "a CPU", 8_000_000_000, 2) if state is not ServiceState.LOADING else None,
        engine="openvino",
        workers=1,
        lanes=2,
        decode_threads=2,
        queue_depth=3,
        batch_ceiling={"lite0": 8},
        predicted_wait_ms=12.5,
        target_p99_ms=1000.0,
        uptime_s=60.0,
        journal={"waiting": 0, "written": 7, "dropped": 0},
    )


def app_over(edge: AppState) -> FastAPI:
    return create_app(lambda: edge, status=lambda: status_of(ServiceState.READY))


PATHS = frozenset({"/", "/livez", "/readyz", "/metrics", "/gone"})


@dataclass
class Service:
    """A guard over a fake BentoML and the real edge, and what it told the metrics."""

    guard: BentoGateway
    bento: FakeBento
    seen: list[tuple[str, str, int]]
    state: ServiceState = ServiceState.READY


def serve(app: FastAPI) -> Service:
    bento = FakeBento()
    seen: list[tuple[str, str, int]] = []

    def on_request(route: str, method: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        seen.append((route, method, status))

    def status() -> ServiceStatus:
        return status_of(service.state)

    guard = BentoGateway(bento, app, PATHS, status=status, on_request=on_request)
    service = Service(guard, bento, seen)
    return service
