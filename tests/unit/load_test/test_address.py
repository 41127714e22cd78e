import socket
from collections.abc import Iterator

import pytest

from bento_service.load_test.address import Address, resolve
from lightbox_client.errors import ServiceUnreachableError


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_url_is_taken_apart(port: int) -> None:
    address = resolve(f"http://user:secret@localhost:{port}/api/v1/classify?model=lite0")

    assert (address.ip, address.port, address.hostname) == ("127.0.0.1", port, "localhost")
    assert address.authority == f"localhost:{port}"
    assert address.target == "/api/v1/classify?model=lite0"
    assert not address.is_tls


def test_a_url_without_a_path_means_the_root(port: int) -> None:
    assert resolve(f"http://127.0.0.1:{port}").target == "/"


@pytest.mark.parametrize(
    ("ip", "is_loopback", "is_nearby"),
    [
        ("127.0.0.1", True, True),
        ("::1", True, True),
        ("192.168.1.7", False, True),
        ("10.0.0.1", False, True),
        ("fd00::1", False, True),
        ("8.8.8.8", False, False),
        ("2606:4700::1111", False, False),
    ],
)
def test_this_machine_and_private_networks_are_near(ip: str, is_loopback: bool, is_nearby: bool) -> None:
    address = Address(ip, 80, "host", "host", "/", is_tls=False)

    assert (address.is_loopback, address.is_nearby) == (is_loopback, is_nearby)


def test_a_host_that_cannot_exist_is_named() -> None:
    with pytest.raises(ServiceUnreachableError, match=r"cannot reach http://no\.\.where/ \(no such name\)"):
        resolve("http://no..where/")


def test_a_proxy_that_is_passed_by_is_named_where_that_may_be_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:s3cret@proxy.example:3128")

    with pytest.raises(ServiceUnreachableError, match=r"The proxy http://proxy\.example:3128 is not used, since"):
        resolve("http://user:s3cret@no..where/")
