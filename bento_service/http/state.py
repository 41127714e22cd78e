"""What endpoints answer with, and how they get it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request

from bento_service.domain.registry import Deployment, VersionStatus
from bento_service.domain.service import ServiceStatus
from bento_service.explain.explainer import Explainer
from bento_service.http.requests.body import ByteBudget
from bento_service.journal.base import JournalReader
from bento_service.journal.windows import utc_now
from bento_service.models.registry_control import RegistryControl
from bento_service.pipeline.classifier import Classifier
from bento_service.settings import Settings

OnRequest = Callable[[str, str, int, float], None]
"""Called with route template, method, status and seconds of each request. The method is whatever the client sent."""


@dataclass(frozen=True, slots=True)
class AppState:
    """The parts of a worker that answer requests. `clock` returns the time in UTC.

    `control` is None where the settings fix what is served. `deployments` returns what this worker follows of the
    registry, by name; `version_states` what it has loaded, by name and version.
    """

    classifier: Classifier
    journal: JournalReader
    settings: Settings
    budget: ByteBudget
    explainer: Explainer
    clock: Callable[[], datetime] = utc_now
    control: RegistryControl | None = None
    deployments: Callable[[], Mapping[str, Deployment]] = dict
    version_states: Callable[[], Mapping[tuple[str, str], VersionStatus]] = dict


StateProvider = Callable[[], AppState]
"""Returns the parts, or raises `NotReadyError` while the models load: `worker.lifecycle.Lifecycle.app_state`."""
StatusProvider = Callable[[], ServiceStatus]
"""Returns how the worker is doing; never raises, not even while the models load: `Lifecycle.status`."""


def get_state(request: Request) -> AppState:
    """Return the parts that answer a request.

    Raises:
        NotReadyError: The models are still loading.
    """
    provide: StateProvider = request.app.state.provide
    return provide()


def get_status(request: Request) -> ServiceStatus:
    """Return how the worker that answers a request is doing."""
    provide_status: StatusProvider = request.app.state.provide_status
    return provide_status()
