"""SIGTERM bounds the time that open requests get."""

import http.client
import json
import signal
import socket
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.integration.running_service import (
    BENTOML_SERVE,
    STOP_TIMEOUT_S,
    RunningService,
    running_service,
    wait_until,
)

pytestmark = pytest.mark.timeout(600)
DRAIN_S = 6
"""Enough for every caller's image on a busy machine: the slow sender alone is to be cut off."""
PATIENT_DRAIN_S = 120
"""Enough for three refusals after the time that it may take to see that the drain has begun, which ends with them."""
CALLERS = 8
SLOW_MACHINE: Mapping[str, Any] = {
    "target_p99_ms": 60_000,
    "receive_timeout_s": 600,
    "models": "efficientnet_lite0",
    "workers": 1,
}
"""Nobody is rejected for load, and nothing but the drain cuts a slow sender off."""
PIECES, PIECE = 80, bytes(65_536)
"""An upload that is still on its way as it is refused."""


def begin_upload(service: RunningService, body_bytes: int = 100_000) -> socket.socket:
    """Sends a request's headers and the first bytes of its body."""
    address = urlsplit(service.url)
    assert address.hostname
    upload = socket.create_connection((address.hostname, address.port or 80), timeout=60)
    upload.sendall(
        b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nX-Request-ID: slow\r\nContent-Type: image/png\r\n"
        b"Content-Length: %d\r\n\r\n\x89PNG" % body_bytes
    )
    return upload


def read_problem(upload: socket.socket) -> tuple[int, dict[str, object]]:
    response = http.client.HTTPResponse(upload)
    response.begin()
    return response.status, json.loads(response.read())


def ask_without_reading(service: RunningService, path: str, times: int) -> socket.socket:
    """Sends requests, one behind the other, and reads the first of their answers' bytes."""
    address = urlsplit(service.url)
    assert address.hostname
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((address.hostname, address.port or 80))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * times)
    assert client.recv(1) == b"H"
    return client


def queue_depth(service: RunningService) -> int:
    depth: int = requests.get(f"{service.url}/v1/status", timeout=60).json()["queue_depth"]
    return depth


def test_a_slow_sender_delays_a_stop_by_the_drain_timeout(
    bentoml_home: Path, tmp_path: Path, jpegs: list[Path]
) -> None:
    statuses: list[int] = []

    def classify(service: RunningService, body: bytes) -> None:
        # The service may have stopped accepting already.
        with suppress(requests.ConnectionError):
            statuses.append(requests.post(f"{service.url}/v1/classify", data=body, timeout=60).status_code)

    settings = {**SLOW_MACHINE, "drain_timeout_s": DRAIN_S}
    with running_service(tmp_path, **settings) as service, closing(begin_upload(service)) as upload:
        wait_until(lambda: queue_depth(service) == 1)
        callers = [threading.Thread(target=classify, args=(service, path.read_bytes())) for path in jpegs[:CALLERS]]
        for caller in callers:
            caller.start()
        wait_until(lambda: bool(statuses) or queue_depth(service) > 1)
        exit_code = service.terminate()
        for caller in callers:
            caller.join(60)
        status, problem = read_problem(upload)
        outcomes = service.journal_outcomes()

    assert exit_code == 0
    assert (status, problem["code"], problem["request_id"]) == (503, "draining", "slow")
    assert outcomes.pop("slow") == "draining"
    assert set(statuses) <= {200, 503}
    assert list(outcomes.values()).count("ok") == statuses.count(200) > 0
    assert "1 open requests ended, 0 admitted images unanswered, 0 receipts lost" in service.log.read_text()


def test_unread_answers_delay_a_stop_by_the_drain_timeout(bentoml_home: Path, tmp_path: Path) -> None:
    # One asks Lightbox's application and one BentoML's.
    settings: dict[str, Any] = {"drain_timeout_s": 1, "models": "efficientnet_lite0", "workers": 1}
    with (
        running_service(tmp_path, argv=BENTOML_SERVE, **settings) as service,
        closing(ask_without_reading(service, "/v1/models/efficientnet_lite0/labels", times=1500)),
        closing(ask_without_reading(service, "/static_content/swagger-ui-bundle.js", times=1500)),
    ):
        counts: list[list[str]] = []

        def are_stalled() -> bool:
            scrape = service.read_metrics().splitlines()
            counts.append([line for line in scrape if "{name:path}/labels" in line or "swagger-ui-bundle" in line])
            return counts[-10:] == counts[-1:] * 10

        wait_until(are_stalled)
        exit_code = service.terminate()

    assert exit_code == 0
    assert "2 open requests ended, 0 admitted images unanswered, 0 receipts lost" in service.log.read_text()


def test_requests_during_a_drain_get_503_and_are_disconnected(bentoml_home: Path, tmp_path: Path) -> None:
    with (
        running_service(tmp_path, drain_timeout_s=PATIENT_DRAIN_S, **SLOW_MACHINE) as service,
        closing(begin_upload(service)) as slow,
        requests.Session() as known,
    ):
        wait_until(lambda: queue_depth(service) == 1)
        opened = known.get(f"{service.url}/v1/status", timeout=60)
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: requests.get(f"{service.url}/readyz", timeout=60).status_code == 503)
        answers = [client.post(f"{service.url}/v1/classify", data=b"x", timeout=60) for client in (known, requests)]
        with closing(begin_upload(service, 4 + PIECES * len(PIECE))) as upload:
            for _ in range(PIECES):
                upload.sendall(PIECE)
            status, problem = read_problem(upload)
        slow.close()
        exit_code = service.process.wait(STOP_TIMEOUT_S)

    assert "Connection" not in opened.headers
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, "draining")] * 2
    assert [answer.headers["Connection"] for answer in answers] == ["close"] * 2
    assert (status, problem["code"]) == (503, "draining")
    assert exit_code == 0


def test_a_worker_whose_supervisor_was_killed_exits(bentoml_home: Path, tmp_path: Path) -> None:
    with running_service(tmp_path, models="efficientnet_lite0") as service:
        service.process.kill()
        service.process.wait()

        wait_until(lambda: not service.is_answering("/livez"))
