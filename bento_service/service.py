"""The BentoML service: wiring only. `bentoml serve bento_service.service:LightboxService` runs it."""

import asyncio
import logging
import os
import time
import uuid
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import bentoml
from _bentoml_sdk import Service
from bentoml.validators import ContentType
from pydantic import Field
from starlette.types import ASGIApp

from bento_service.cli.errors import explained_start, read_settings
from bento_service.cli.models.preparing import prepare_in_subprocess
from bento_service.cli.serve import list_to_prepare, preflight
from bento_service.domain.service import ServiceState
from bento_service.errors import JournalTooNewError, JournalUnavailableError
from bento_service.machine import count_cpus
from bento_service.observability.multiprocess import keep_series_by_worker
from bento_service.settings import Settings
from bento_service.worker.shared_folder import FOLDER_VARIABLE, TABLE, StatusTable
from lightbox_client.contract import Classification
from lightbox_client.variables import warn_of_unknown

if TYPE_CHECKING:
    from bento_service.http.in_flight import InFlightRequests
    from bento_service.worker.lifecycle import Lifecycle

logger = logging.getLogger(__name__)

# BentoML's own Swagger UI; without it the page at /v1/docs would need the internet.
_SWAGGER_ASSETS = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"
_BENTO_PATHS = (
    *("/", "/livez", "/healthz", "/readyz", "/metrics", "/docs.json", "/schema.json"),
    *(f"/static_content/{file.name}" for file in _SWAGGER_ASSETS.iterdir()),
)


def _prepare_deployment(settings: Settings) -> None:
    """Prepare the missing models and migrate the journal, once, before the workers start.

    Raises:
        EngineUnavailableError: The engine or the device of the settings is not there.
        CommandError: A model could not be prepared.
        JournalUrlError: The journal's URL is invalid.
        CacheUrlError: The cache's URL is invalid.
        JournalTooNewError: A newer Lightbox wrote the journal.
    """
    preflight(settings)
    if wanted := list_to_prepare(settings):
        logger.info("Running `lightbox models prepare %s`: this happens once.", " ".join(wanted))
        prepare_in_subprocess(wanted)
    from bento_service.database.revisions import is_file_current

    if settings.journal_url is None and is_file_current(settings.journal_file):
        return
    from bento_service.journal.store import migrate

    try:
        migrate(settings.resolved_journal_url)
    except JournalTooNewError:
        raise
    except JournalUnavailableError as error:
        logger.error("The journal cannot be used yet; receipts will wait for it: %s", error)


def _open_table() -> StatusTable | None:
    folder = os.environ.get(FOLDER_VARIABLE)
    return StatusTable.open(Path(folder) / TABLE) if folder else None


# BentoML configures a service by decorating its class, so the settings are read while this module is imported.
with explained_start():
    settings = read_settings()
_worker_number = bentoml.server_context.worker_index
keep_series_by_worker(_worker_number)


@cache
def _worker() -> "tuple[Lifecycle, InFlightRequests]":
    """Make the HTTP application and the life of this worker; its models load meanwhile.

    BentoML's master imports this module too, and starts in half the time without what only a worker needs.
    """
    from bento_service.loading.begun_load import BegunLoad
    from bento_service.loading.model_loader import ModelLoader

    # Which models a registry wants is known only once it was asked.
    begun = BegunLoad(ModelLoader(settings), settings.models) if settings.model_control == "fixed" else None
    from bento_service.bootstrap import open_pipeline
    from bento_service.http.app import create_app
    from bento_service.http.in_flight import InFlightRequests
    from bento_service.observability.metrics import Metrics
    from bento_service.worker.lifecycle import Lifecycle

    lifecycle = Lifecycle(
        settings,
        Metrics(target_p99_s=settings.target_p99_ms / 1000),
        open_pipeline=partial(open_pipeline, begun=begun),
        table=_open_table(),
        number=_worker_number or 1,
    )
    own_app = create_app(lifecycle.app_state, provide_status=lifecycle.status, swagger_assets=_SWAGGER_ASSETS)
    return lifecycle, InFlightRequests(own_app)


class GatewayService(Service):
    """A BentoML service with the gateway as its outermost layer."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Return BentoML's application behind the gateway, and bound the connections that reach it (ADR 2)."""
        import uvicorn.config

        from bento_service.http.connection.early_rejection import EarlyRejections
        from bento_service.http.connection.protocol import BoundedHttpProtocol
        from bento_service.http.connection.rejection_pacer import RejectionPacer
        from bento_service.http.gateway import Gateway

        lifecycle, own_app = _worker()

        def is_draining() -> bool:
            return lifecycle.state is ServiceState.DRAINING

        pacer = RejectionPacer(cpus=count_cpus() / settings.worker_count)
        early_rejections = EarlyRejections(
            lifecycle.app_state, pacer=pacer, on_request=lifecycle.metrics.observe_http, is_draining=is_draining
        )
        # BentoML makes its workers' `uvicorn.Config` itself, right after this call. It leaves the protocol to uvicorn,
        # which takes a class's name or a factory.
        uvicorn.config.HTTP_PROTOCOLS["auto"] = partial(BoundedHttpProtocol, reject_early=early_rejections)  # type: ignore[assignment]
        return Gateway(
            own_app.wrap(super().to_asgi(is_main)),
            own_app,
            _BENTO_PATHS,
            status=lifecycle.status,
            on_request=lifecycle.metrics.observe_http,
            cors_origins=settings.cors_origins,
            is_draining=is_draining,
            pacer=pacer,
        )


@bentoml.service(
    name="lightbox",
    service_class=GatewayService,
    workers=settings.worker_count,
    # Lightbox has its own time limits, by deadline and while receiving; BentoML's would answer 504 and go on working.
    traffic={"timeout": 3600},
    # A line for each request would cost too much CPU; the journal has every request.
    logging={"access": {"enabled": False}},
    http={"host": settings.host, "port": settings.port},
)
class LightboxService:
    """Classifies images, with a receipt for each."""

    @bentoml.on_deployment
    @staticmethod
    def prepare() -> None:
        """Prepare the models and migrate the journal, once, before the workers start."""
        warn_of_unknown(os.environ, logger.warning)
        with explained_start():
            _prepare_deployment(settings)
        from bento_service.worker.supervisor import supervise_workers

        supervise_workers(settings)

    @bentoml.on_startup
    async def start(self) -> None:
        """Begin to load the models; answer probes meanwhile, unless other workers serve."""
        lifecycle, own_app = _worker()
        await lifecycle.start(own_app)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Finish admitted requests and flush the journal."""
        lifecycle, _ = _worker()
        await lifecycle.stop()

    async def __is_ready__(self) -> bool:
        """Whether every worker that accepts connections has warm models, and this one is not draining."""
        lifecycle, _ = _worker()
        return lifecycle.is_ready()

    @bentoml.api
    async def classify(
        self,
        image: Annotated[Path, ContentType("image/*")] = Field(description="The image to classify."),  # noqa: B008
        model: str | None = Field(default=None, description="A served model's name."),
        top_k: int = Field(default=5, description="How many predictions to return."),
        deadline_ms: float | None = Field(
            default=None,
            description="The longest that the answer may take, in milliseconds, from the request's headers on. Known, "
            "and so held, only once the form has arrived.",
        ),
    ) -> Classification:
        """Classify one image: the same as `POST /v1/classify`, for BentoML's clients and its page at `/`."""
        # Declares the call for schema, page and clients. Over HTTP, http/routes/classify.py answers it; this body
        # runs for callers in this process.
        from bento_service.http.responses.serializers import to_classification

        lifecycle, _ = _worker()
        admitted = lifecycle.pipeline().classifier.open(
            request_id=uuid.uuid4().hex,
            model=model,
            top_k=top_k,
            deadline_ms=deadline_ms,
            started_s=time.perf_counter(),
        )
        with admitted as pending:
            return to_classification(await pending.classify(await asyncio.to_thread(image.read_bytes)))
