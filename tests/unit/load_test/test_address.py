import socket
from collections.abc import Iterator

import pytest

from bento_service.load_test.address import Address, resolve
from lightbox_client.errors import InvalidAddressError, ServiceUnreachableError


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_url_is_taken_apart(port: int) -> None:
    address = resolve(f"http://user:secret@localhost:{port}/api/v1/classify?model=lite0")

    target = "/api/v1/classify?model=lite0"
    assert address == Address("127.0.0.1", port, "localhost", f"localhost:{port}", target, is_tls=False)
    assert resolve(f"http://127.0.0.1:{port}").target == "/"


@pytest.mark.parametrize(
    ("ip", "is_loopback", "is_nearby"),
    [
        *((ip, True, True) for ip in ("127.0.0.1", "::1")),
        *((ip, False, True) for ip in ("192.168.1.7", "10.0.0.1", "fd00::1")),
        *((ip, False, False) for ip in ("8.8.8.8", "2606:4700::1111")),
    ],
)
def test_this_machine_and_private_networks_are_near(ip: str, is_loopback: bool, is_nearby: bool) -> None:
    address = Address(ip, 80, "host", "host", "/", is_tls=False)

    assert (address.is_loopback, address.is_nearby) == (is_loopback, is_nearby)


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "ftp://host/", "http://", "http://host:99999/", "http://h/a b"])
def test_what_is_no_address_is_named(url: str) -> None:
    with pytest.raises(InvalidAddressError, match="is no address"):
        resolve(url)


def test_a_host_that_cannot_exist_is_named() -> None:
    with pytest.raises(ServiceUnreachableError, match=r"cannot reach http://no\.\.where/ \(no such name\)"):
        resolve("http://no..where/")


def test_a_port_where_nothing_listens_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ServiceUnreachableError, match="Connection refused"):
            resolve(f"http://127.0.0.1:{taken.getsockname()[1]}/")


def test_a_proxy_that_is_not_used_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:s3cret@proxy.example:3128")

    with pytest.raises(ServiceUnreachableError, match=r"The proxy http://proxy\.example:3128 is not used") as failed:
        resolve("http://user:s3cret@no..where/")

    assert "s3cret" not in str(failed.value)
