"""The edge over fakes: small limits, a fixed clock, and a client that speaks ASGI to it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from bento_service.domain import Device, ServiceState, ServiceStatus
from bento_service.http.app import create_app
from bento_service.http.budget import ByteBudget
from bento_service.http.edge import Edge
from bento_service.settings import Settings
from tests.fakes.classifier import FakeClassifier
from tests.fakes.journal import FakeJournal

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


def app_over(edge: Edge) -> FastAPI:
    return create_app(lambda: edge, status=lambda: status_of(ServiceState.READY))


@pytest.fixture
def settings() -> Settings:
    return Settings(
        max_image_bytes=1000,
        max_images=4,
        max_request_bytes=10_000,
        max_inflight_bytes=50_000,
        receive_timeout_s=5,
        models=("lite0", "timm/resnet50.a1_in1k"),
    )


@pytest.fixture
def classifier() -> FakeClassifier:
    return FakeClassifier()


@pytest.fixture
def journal() -> FakeJournal:
    return FakeJournal()


@pytest.fixture
def edge(classifier: FakeClassifier, journal: FakeJournal, settings: Settings) -> Edge:
    return Edge(classifier, journal, settings, ByteBudget(settings.max_inflight_bytes), clock=lambda: NOW)


@pytest.fixture
def app(edge: Edge) -> FastAPI:
    return app_over(edge)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client
