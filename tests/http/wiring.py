"""The HTTP application wired over fakes, alone or behind the gateway."""

from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp

from bento_service.domain.runner import Device
from bento_service.domain.service import ServiceState, ServiceStatus
from bento_service.http.app import create_app
from bento_service.http.gateway import Gateway
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


def app_over(state: AppState) -> Starlette:
    return create_app(lambda: state, provide_status=lambda: status_of(ServiceState.READY))


def gateway_over(app: ASGIApp, **options: Any) -> Gateway:
    """The gateway over an application and a fake BentoML; `options` replace its arguments."""
    defaults: dict[str, Any] = {
        "bento_app": FakeBento(),
        "bento_paths": PATHS,
        "status": lambda: status_of(ServiceState.READY),
        "on_request": lambda *_: None,
    }
    return Gateway(own_app=app, **(defaults | options))


PATHS = frozenset({"/", "/livez", "/readyz", "/metrics", "/gone"})


@dataclass
class Service:
    """A gateway over the application and a fake BentoML, and the requests that it reported."""

    app: InitVar[ASGIApp]
    bento: FakeBento = field(default_factory=FakeBento)
    seen: list[tuple[str, str, int]] = field(default_factory=list)
    state: ServiceState = ServiceState.READY

    def __post_init__(self, app: ASGIApp) -> None:
        self.gateway = gateway_over(
            app, bento_app=self.bento, status=lambda: status_of(self.state), on_request=self._note
        )

    def _note(self, route: str, method: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.seen.append((route, method, status))
