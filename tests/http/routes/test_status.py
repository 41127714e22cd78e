import platform

import pytest
from starlette.testclient import TestClient

from bento_service import __version__
from bento_service.domain.service import ServiceState
from bento_service.errors import NotReadyError
from bento_service.http.app import create_app
from bento_service.http.state import AppState
from lightbox_client.contract import Status, Version
from tests.http.expectations import expect_problem
from tests.http.wiring import gateway_over, status_of


def loading() -> AppState:
    raise NotReadyError("The models are still loading.", retry_after_s=2)


def loading_client() -> TestClient:
    return TestClient(gateway_over(create_app(loading, provide_status=lambda: status_of(ServiceState.LOADING))))


def test_status_shows_the_worker(client: TestClient) -> None:
    status = Status.model_validate_json(client.get("/v1/status").content)

    assert status.state == "ready"
    assert status.device is not None
    assert status.device.name == "a CPU"
    assert status.batch_ceiling == {"lite0": 8}
    assert status.journal == {"waiting": 0, "written": 7, "dropped": 0}


def test_version_names_lightbox_its_libraries_and_its_models(client: TestClient) -> None:
    version = Version.model_validate_json(client.get("/version").content)

    assert version.lightbox == __version__
    assert version.python == platform.python_version()
    assert version.libraries["fastapi"]
    assert version.models == {"lite0": "v-lite0", "timm/resnet50.a1_in1k": "v-timm/resnet50.a1_in1k"}


def test_status_and_version_answer_while_the_models_load() -> None:
    client = loading_client()

    assert Status.model_validate_json(client.get("/v1/status").content).state == "loading"
    assert Version.model_validate_json(client.get("/version").content).models == {}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", path) for path in ("/v1/classify", "/v1/classify/batch", "/v1/preview")),
        *(("GET", f"/v1/{path}") for path in ("models", "models/a", "models/a/labels", "history", "history/requests")),
    ],
)
def test_everything_else_is_not_ready_while_the_models_load(method: str, path: str) -> None:
    response = loading_client().request(method, path, content=b"x")

    expect_problem(response, 503, "not_ready")
    assert response.headers["retry-after"] == "2"
