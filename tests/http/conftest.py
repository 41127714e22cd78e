"""The HTTP application over fakes: small limits, a fixed clock, and an in-process client of the gateway."""

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from bento_service.http.requests.body import ByteBudget
from bento_service.http.state import AppState
from bento_service.settings import Settings
from tests.fakes.classifier import FakeClassifier
from tests.fakes.explainer import FakeExplainer
from tests.fakes.journal import FakeJournal
from tests.http.wiring import NOW, Service, app_over


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
def explainer(classifier: FakeClassifier) -> FakeExplainer:
    return FakeExplainer(classifier)


@pytest.fixture
def state(classifier: FakeClassifier, journal: FakeJournal, settings: Settings, explainer: FakeExplainer) -> AppState:
    budget = ByteBudget(settings.max_inflight_bytes)
    return AppState(classifier, journal, settings, budget, explainer, clock=lambda: NOW)


@pytest.fixture
def app(state: AppState) -> Starlette:
    return app_over(state)


@pytest.fixture
def service(app: Starlette) -> Service:
    return Service(app)


@pytest.fixture
def client(service: Service) -> TestClient:
    return TestClient(service.gateway)
