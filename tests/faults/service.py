"""The service from its socket to its lanes, on an event loop and in a thread of its own."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import uvicorn
import uvloop
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from bento_service.cache.result_cache import open_cache
from bento_service.domain.service import ServiceState
from bento_service.http.app import create_app
from bento_service.http.connection.protocol import BoundedHttpProtocol
from bento_service.http.gateway import Gateway
from bento_service.http.in_flight import InFlightRequests
from bento_service.http.requests.body import ByteBudget
from bento_service.http.state import AppState
from bento_service.images.preprocessing import ImageLimits
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.classifier import Classifier
from bento_service.settings import Settings
from tests.fakes.bento import FakeBento
from tests.fakes.engine import PATIENCE_S
from tests.fakes.faulty_engine import FaultyEngine
from tests.fakes.journal import FakeJournal
from tests.faults.wiring import DEFAULT_LIMITS, MODEL, FaultedService, wire
from tests.http.wiring import status_of


@contextmanager
def serving(
    engine: FaultyEngine,
    *,
    target_ms: float = 5000.0,
    has_cache: bool = False,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Iterator[FaultedService]:
    """Serve images by their numbers, in a thread with an event loop of its own.

    Args:
        engine: Runs the one model.
        target_ms: The latency target.
        has_cache: Whether answers are kept; without, each image is computed.
        limits: What the intake refuses.
    """
    settings = Settings(target_p99_ms=target_ms, cache_bytes=1_000_000 if has_cache else 0, models=(MODEL,))
    started: Future[tuple[FaultedService, uvicorn.Server]] = Future()
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:

        def run() -> None:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(engine, settings, limits, listener, started))

        thread = threading.Thread(target=run, name="faulted-service")
        thread.start()
        service, server = started.result(PATIENCE_S)
        try:
            yield service
        finally:
            server.should_exit = True
            thread.join(2 * PATIENCE_S)
            assert not thread.is_alive(), "the service does not stop"


async def _serve(
    engine: FaultyEngine,
    settings: Settings,
    limits: ImageLimits,
    listener: socket.socket,
    started: "Future[tuple[FaultedService, uvicorn.Server]]",
) -> None:
    registry, port = CollectorRegistry(), listener.getsockname()[1]
    metrics = Metrics(registry)
    cache = open_cache(settings, observer=metrics)
    service = wire(engine, settings, limits, registry=registry, metrics=metrics, cache=cache, port=port)
    config = uvicorn.Config(
        _put_before(service.classifier, settings, metrics), http=BoundedHttpProtocol, log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    started.set_result((service, server))
    try:
        await server.serve([listener])
    finally:
        await asyncio.to_thread(service.scheduler.close, timeout_s=PATIENCE_S)
        service.decode_pool.close(wait=False)
        if cache is not None:
            await cache.close()


def _put_before(classifier: Classifier, settings: Settings, metrics: Metrics) -> ASGIApp:
    edge = AppState(classifier, FakeJournal(), settings, ByteBudget(settings.max_inflight_bytes))
    app = InFlightRequests(create_app(lambda: edge, provide_status=lambda: status_of(ServiceState.READY)))
    return Gateway(FakeBento(), app, (), status=lambda: status_of(ServiceState.READY), on_request=metrics.observe_http)
