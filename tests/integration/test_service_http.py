"""The HTTP contract of the real service process, with real models and real files."""

import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bentoml
import pytest
import requests
from playwright.sync_api import expect

from dashboard.gallery import SAMPLES
from dashboard.wording import CONFIDENT_FROM, DOUBTFUL_BELOW
from tests.browser.chromium import open_chromium, open_page
from tests.integration.running_service import RunningService, wait_until
from tests.unit.deploy.kustomization import KUBERNETES, render

CATS = range(281, 286)


@pytest.fixture
def chelsea(photographs: tuple[Path, ...]) -> bytes:
    return next(path for path in photographs if path.name == "chelsea.png").read_bytes()


def png_bomb(width_px: int, height_px: int) -> bytes:
    """A small PNG that declares a huge size."""
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1_000_000))), (b"IEND", b""))
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def assert_problem(response: requests.Response, status: int, code: str) -> dict[str, object]:
    problem: dict[str, object] = response.json()
    assert response.status_code == status, problem
    assert response.headers["Content-Type"] == "application/problem+json"
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert problem["detail"]
    return problem


@pytest.mark.parametrize("is_form", [False, True], ids=["body", "form"])
def test_a_cat_is_classified_as_a_cat(service: RunningService, chelsea: bytes, is_form: bool) -> None:
    # Each never seen before, so that the model runs.
    encoded = chelsea + bytes([is_form])
    sent = {"files": {"image": ("chelsea.png", encoded)}} if is_form else {"data": encoded}
    response = requests.post(f"{service.url}/v1/classify", timeout=60, **sent)

    answer = response.json()
    assert response.status_code == 200
    assert answer["predictions"][0]["class_id"] in CATS
    assert len(answer["predictions"]) == 5
    assert answer["image"] == {"format": "PNG", "width": 451, "height": 300}
    assert answer["model"]["name"] == "efficientnet_lite0"
    timings = answer["timings_ms"]
    stages = [timings[stage] for stage in ("receive", "decode", "queue", "inference")]
    assert min(stages) >= 0 < min(timings["decode"], timings["inference"])
    assert sum(stages) <= timings["total"]


def test_a_batch_answers_in_order_and_a_bad_file_spoils_no_other(service: RunningService, chelsea: bytes) -> None:
    files = [("images", ("a.png", chelsea)), ("images", ("b.txt", b"hello")), ("images", ("c.png", chelsea))]

    results = requests.post(f"{service.url}/v1/classify/batch", files=files).json()["results"]

    assert [result["filename"] for result in results] == ["a.png", "b.txt", "c.png"]
    assert [result["result"] is None for result in results] == [False, True, False]
    assert results[1]["error"]["code"] == "unsupported_format"
    assert results[0]["result"]["predictions"] == results[2]["result"]["predictions"]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda jpeg: (b"\xff\xd8" * 50_000 for _ in range(40)), (413, "image_too_large")),
        (lambda jpeg: png_bomb(100_000, 100_000), (413, "too_many_pixels")),
        (lambda jpeg: jpeg[:20_000], (422, "undecodable_image")),
    ],
    ids=["too many bytes, not declared", "too many pixels", "truncated"],
)
def test_an_image_that_cannot_be_answered_is_a_problem(
    service: RunningService, jpegs: list[Path], make: Callable[[bytes], Any], problem: tuple[int, str]
) -> None:
    image = make(jpegs[0].read_bytes())

    assert_problem(requests.post(f"{service.url}/v1/classify", data=image), *problem)


def test_a_deadline_that_cannot_be_met_is_exceeded(service: RunningService, chelsea: bytes) -> None:
    response = requests.post(f"{service.url}/v1/classify", params={"deadline_ms": 0.5}, data=chelsea + b"new")

    assert_problem(response, 504, "deadline_exceeded")


def test_models_and_labels_are_listed(service: RunningService) -> None:
    models = requests.get(f"{service.url}/v1/models").json()["models"]
    labels = requests.get(f"{service.url}/v1/models/efficientnet_lite0/labels").json()["labels"]

    assert [model["name"] for model in models if model["is_default"]] == ["efficientnet_lite0"]
    assert {model["state"] for model in models} == {"ready"}
    assert {model["engine"] for model in models} == {"openvino"}
    assert len(labels) == 1000
    assert labels[285] == "Egyptian cat"


def test_status_and_version_tell_what_runs(service: RunningService) -> None:
    status = requests.get(f"{service.url}/v1/status").json()
    version = requests.get(f"{service.url}/version").json()

    assert status["state"] == "ready"
    assert status["device"]["kind"] == "cpu"
    assert set(version["models"]) == set(status["batch_ceiling"])
    assert version["libraries"]["bentoml"]


def test_history_counts_what_happened(service: RunningService, chelsea: bytes) -> None:
    request_id = requests.post(f"{service.url}/v1/classify", data=chelsea).json()["request_id"]

    def is_there() -> bool:
        found = requests.get(f"{service.url}/v1/history/requests", params={"order": "newest", "limit": "500"}).json()
        return request_id in [receipt["request_id"] for receipt in found["requests"]]

    wait_until(is_there)
    history = requests.get(f"{service.url}/v1/history", params={"buckets": 6}).json()
    assert len(history["buckets"]) in {6, 7}
    assert {bucket["start"][14:] for bucket in history["buckets"]} <= {f"{minute}0:00Z" for minute in range(6)}
    assert history["total"]["outcomes"]["ok"] >= 1
    assert history["total"]["total_ms"]["p99"] >= history["total"]["total_ms"]["p50"] > 0
    assert sum(bucket["count"] for bucket in history["buckets"]) == history["total"]["count"]


def test_a_scan_of_unknown_paths_does_not_grow_the_metrics(service: RunningService, chelsea: bytes) -> None:
    def series() -> set[str]:
        lines = requests.get(f"{service.url}/metrics").text.splitlines()
        return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}

    requests.post(f"{service.url}/v1/classify", data=chelsea)
    requests.get(f"{service.url}/scan/first")
    requests.get(f"{service.url}/v1/models/scan-first")
    series()
    before = series()
    for number in range(50):
        requests.get(f"{service.url}/scan/{number}")
        requests.get(f"{service.url}/v1/models/scan-{number}")
        requests.get(f"{service.url}/static_content/{number}")

    assert series() <= before
    for name in ("requests_total", "stage_seconds_bucket", "batch_size_images_bucket", "queue_depth_images"):
        assert any(line.startswith(f"lightbox_{name}") for line in before), name


def test_bentomls_own_pages_and_probes_answer(service: RunningService) -> None:
    for path in ("/", "/livez", "/readyz", "/healthz", "/metrics", "/docs.json", "/schema.json", "/v1/docs"):
        # On one connection, where a body of HEAD would be taken for the next answer.
        with requests.Session() as session:
            head, get = session.head(service.url + path), session.get(service.url + path)
        assert (head.status_code, get.status_code) == (200, 200), path
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert requests.get(f"{service.url}/static_content/swagger-ui-bundle.js").status_code == 200
    policy = requests.get(f"{service.url}/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy


def test_bentomls_client_classifies(service: RunningService, photographs: tuple[Path, ...]) -> None:
    chelsea = next(path for path in photographs if path.name == "chelsea.png")
    with bentoml.SyncHTTPClient(service.url) as client:
        answer = client.classify(image=chelsea, top_k=2)

    assert answer["predictions"][0]["class_id"] in CATS
    assert len(answer["predictions"]) == 2


@pytest.mark.anyio
async def test_bentomls_asynchronous_client_chooses_the_model(
    service: RunningService, photographs: tuple[Path, ...]
) -> None:
    chelsea = next(path for path in photographs if path.name == "chelsea.png")
    async with bentoml.AsyncHTTPClient(service.url) as client:
        answer = await client.classify(image=chelsea, model="efficientnet_lite1", top_k=1, deadline_ms=None)

    assert answer["model"]["name"] == "efficientnet_lite1"
    assert [prediction["class_id"] in CATS for prediction in answer["predictions"]] == [True]


def test_bentomls_document_describes_the_fields_of_its_call(service: RunningService) -> None:
    call = requests.get(f"{service.url}/docs.json").json()["paths"]["/classify"]["post"]
    form = call["requestBody"]["content"]["multipart/form-data"]["schema"]

    assert form["required"] == ["image"]
    assert set(form["properties"]) == {"image", "model", "top_k", "deadline_ms"}
    assert all(field["description"] for field in form["properties"].values())


def test_bentomls_call_fetches_no_address_for_a_stranger(service: RunningService) -> None:
    """BentoML itself downloads what a text in place of a file points to; here it is just no image."""
    form = {"image": (None, f"{service.url}/static_content/favicon-light-32x32.png")}

    assert_problem(requests.post(f"{service.url}/classify", files=form), 400, "missing_image")


@pytest.mark.parametrize("model", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_every_bundled_model_knows_the_samples(service: RunningService, model: str) -> None:
    scores = [
        requests.post(
            f"{service.url}/v1/classify", params={"model": model, "top_k": "1"}, data=sample.path.read_bytes()
        ).json()["predictions"][0]["score"]
        for sample in SAMPLES
    ]

    assert all(score > CONFIDENT_FROM for score in scores[:-1])
    assert scores[-1] < DOUBTFUL_BELOW


def test_every_probe_and_scrape_of_kubernetes_is_answered(service: RunningService) -> None:
    rendered = render(KUBERNETES / "overlays" / "monitoring")
    container = rendered.container("lightbox-api")
    paths = {container[kind]["httpGet"]["path"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    paths |= {endpoint["path"] for endpoint in rendered.one("ServiceMonitor")["spec"]["endpoints"]}

    assert paths
    assert {path for path in paths if requests.get(f"{service.url}{path}", timeout=60).status_code != 200} == set()


@pytest.mark.browser
def test_bentomls_page_still_offers_its_form_under_our_policy(service: RunningService) -> None:
    with open_chromium() as browser, open_page(browser, service.url) as page:
        answer = page.reload()
        page.get_by_text("/classify").first.click()
        page.get_by_role("button", name="Try it out").click()

        expect(page.get_by_role("button", name="Execute")).to_be_visible()
        expect(page.locator("input[type=file]")).to_be_visible()

    assert answer
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_headers_without_end_are_refused_with_a_problem(service: RunningService) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), 60) as client, client.makefile("rb") as file:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nX: " + b"x" * 65_536)

        assert file.readline() == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
        assert b"content-type: application/problem+json\r\n" in list(iter(file.readline, b"\r\n"))


def test_a_websocket_handshake_is_refused_with_a_problem(service: RunningService) -> None:
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "eA=="}
    refused = requests.get(f"{service.url}/v1/status", headers=handshake | {"Sec-WebSocket-Version": "13"})

    problem = assert_problem(refused, 404, "not_found")
    assert "WebSocket" in str(problem["detail"])
