"""nginx of the profile `scale` before replicas that answer everything at once: what it takes in, and from how many."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from tests.containers.docker_cli import ROOT, STOP_TIMEOUT_S, Container, container, docker, unique_name, wait_until
from tests.containers.entry_proxy import API_PORT, DASHBOARD_PORT

pytestmark = pytest.mark.timeout(900)
IMAGE = "nginx:1-alpine"
REPLICA = """
events {}
http {
    client_max_body_size 0;
    keepalive_timeout 1h;
    server {
        listen 3000;
        listen 8501;
        location / { return 200; }
        location = /_stcore/stream { return 101; }
    }
}
"""
TMP_BYTES = 4_000_000
UPLOAD_BYTES = 600_000
UPLOADS_OF_A_SENDER = 24
LARGE_BATCH_BYTES = 30_000_000


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    name = unique_name()
    docker("network", "create", name)
    try:
        yield name
    finally:
        docker("network", "rm", name)


@contextmanager
def replica(network: str, alias: str, folder: Path) -> Iterator[Container]:
    folder.chmod(0o755)
    (folder / "nginx.conf").write_text(REPLICA)
    options = ("--network", network, "--network-alias", alias, "--volume", f"{folder}/nginx.conf:/etc/nginx/nginx.conf")
    with container(IMAGE, *options) as running:
        # Else nginx may begin without it, and go on refusing for a moment once it has found it.
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def replicas(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Container]]:
    """One of the service, and one of the dashboard."""
    with ExitStack() as opened:
        names = ("api", "dashboard")
        yield [opened.enter_context(replica(network, name, tmp_path_factory.mktemp(name))) for name in names]


@contextmanager
def nginx(network: str) -> Iterator[Container]:
    options = (
        *("--network", network, "--user", "1034:1034", "--read-only"),
        *("--tmpfs", f"/tmp:size={TMP_BYTES}", "--volume", f"{ROOT}/deploy/nginx:/etc/lightbox:ro"),  # noqa: S108 - the container's tmpfs
        *("--init", "--publish", f"127.0.0.1::{DASHBOARD_PORT}", "--entrypoint", "/bin/sh"),
    )
    with container(IMAGE, *options, command=["/etc/lightbox/start.sh"], port=API_PORT) as running:
        running.wait_ready()
        Container(running.name, DASHBOARD_PORT).wait_ready("/_stcore/health")
        yield running


@pytest.fixture
def proxy(network: str, replicas: list[Container]) -> Iterator[Container]:
    """A fresh one for each test: it counts nobody's request from before."""
    with nginx(network) as running:
        yield running


def post(url: str, size_bytes: int, path: str = "/v1/classify") -> requests.Response:
    return requests.post(f"{url}{path}", data=bytes(size_bytes), timeout=STOP_TIMEOUT_S)


@contextmanager
def connected(url: str, head: str) -> Iterator[socket.socket]:
    """A connection on which so much of a request has been sent."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=STOP_TIMEOUT_S) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode())
        yield connection


@contextmanager
def begun(url: str, size_bytes: int, path: str = "/v1/classify") -> Iterator[socket.socket]:
    """An upload of which no more than the headers arrive. nginx has counted it, and asks for the rest."""
    head = f"POST {path} HTTP/1.1\nHost: lightbox\nExpect: 100-continue\nContent-Length: {size_bytes}\n\n"
    with connected(url, head) as upload:
        asked = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert upload.recv(len(asked)) == asked, "nginx did not ask for the body"
        yield upload


def websocket(proxy: Container) -> AbstractContextManager[socket.socket]:
    """An open page of the dashboard."""
    head = "GET /_stcore/stream HTTP/1.1\nHost: lightbox\nConnection: upgrade\nUpgrade: websocket\n\n"
    return connected(Container(proxy.name, DASHBOARD_PORT).url, head)


def assert_is_told_to_try_again(answer: requests.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["code"] == code
    assert int(answer.headers["Retry-After"]) > 0


def test_an_upload_that_does_not_fit_into_memory_is_refused(proxy: Container) -> None:
    assert_is_told_to_try_again(post(proxy.url, TMP_BYTES), 503, "not_ready")
    assert post(proxy.url, 50_000).status_code == 200


def test_the_slow_uploads_of_one_sender_are_limited(proxy: Container) -> None:
    # Asking Docker for it takes a while, of which nginx grants each upload no more than 30 s.
    url = proxy.url
    with ExitStack() as uploads:
        for _ in range(UPLOADS_OF_A_SENDER):
            uploads.enter_context(begun(url, UPLOAD_BYTES))

        assert_is_told_to_try_again(post(url, UPLOAD_BYTES), 429, "overloaded")
        assert post(url, 50_000).status_code == 200

    wait_until(lambda: post(url, UPLOAD_BYTES).status_code == 200, "there is room again")


def test_large_batches_of_a_sender_come_one_after_another(proxy: Container) -> None:
    batch, url = "/v1/classify/batch", proxy.url
    head = f"POST {batch} HTTP/1.1\nHost: lightbox\nContent-Length: {LARGE_BATCH_BYTES}\n\n"
    with begun(url, LARGE_BATCH_BYTES, batch):
        with connected(url, head) as next_one:
            assert next_one.recv(1000).startswith(b"HTTP/1.1 429 "), "refused before its body"
        assert post(url, UPLOAD_BYTES, batch).status_code == 200


@pytest.mark.usefixtures("replicas")
def test_nginx_ends_in_spite_of_websockets_and_answers_open_requests(network: str) -> None:
    with nginx(network) as stopped, websocket(stopped) as page, begun(stopped.url, 10) as upload:
        assert page.recv(4096).startswith(b"HTTP/1.1 101")
        with ThreadPoolExecutor() as aside:
            stop = aside.submit(stopped.stop)
            wait_until(lambda: not stopped.answers("/"), "nginx takes no new connections")
            upload.sendall(b"." * 10)
            assert upload.recv(4096).startswith(b"HTTP/1.1 200")
            stop.result()

        assert page.recv(4096) == b""
        assert stopped.exit_code == 0, "it was killed"


def test_replicas_stay_in_the_list_where_dns_names_nobody(
    proxy: Container, network: str, replicas: list[Container], tmp_path: Path
) -> None:
    lists = ("cat", "/tmp/dashboard.servers")  # noqa: S108 - the container's tmpfs
    before = proxy.run("cat", "/tmp/api.servers")  # noqa: S108 - the same
    docker("network", "disconnect", network, replicas[0].name)
    try:
        with replica(network, "dashboard", tmp_path) as newcomer:
            address = newcomer.inspect()["NetworkSettings"]["Networks"][network]["IPAddress"]
            wait_until(lambda: address in proxy.run(*lists), "nginx has asked DNS again")
        # The pass that came upon the newcomer may have asked for the service before it was cut off; the next did not.
        wait_until(lambda: address not in proxy.run(*lists), "nginx has asked DNS once more")
        after = proxy.run("cat", "/tmp/api.servers")  # noqa: S108 - the same
    finally:
        docker("network", "connect", "--alias", "api", network, replicas[0].name)

    assert ":3000" in before
    assert after == before
