import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from lightbox_client import Client
from lightbox_client.errors import ServiceUnreachableError, UnexpectedAnswerError
from lightbox_client.proxies import is_loopback, without_credentials
from tests.fakes.service import FakeService

NOBODY = "127.0.0.1:9"
ELSEWHERE = "http://192.0.2.7:3000"
"""An address that no network has (RFC 5737)."""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "LocalHost"])
def test_no_proxy_of_the_environment_stands_before_this_machine(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, variable: str, host: str
) -> None:
    monkeypatch.setenv(variable, f"http://{NOBODY}")

    with Client(f"http://{host}:{service.port}") as client:
        assert client.is_ready()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.9.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "localhost")),
        *((host, True) for host in ("LOCALHOST", "localhost.", "api.localhost", "0.0.0.0", "[::]")),  # noqa: S104
        *((host, False) for host in ("128.0.0.1", "192.168.0.1", "[2001:db8::1]", "localhost.example", "api", "1.1")),
    ],
)
def test_loopback_has_many_names(host: str, expected: bool) -> None:
    assert is_loopback(f"https://{host}:3000/v1") is expected


@pytest.mark.parametrize(
    "proxy",
    [
        f"http://user:s3cret@{NOBODY}",
        f"user:s3cret@{NOBODY}",
        f"http://user:s3cret/@#?@{NOBODY}",
        "http://user:s3cret@[nowhere",
        f"socks5://user:s3cret@{NOBODY}",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_error_names_the_proxy_that_was_used_without_its_password(
    monkeypatch: pytest.MonkeyPatch, scheme: str, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)

    with Client(f"{scheme}://192.0.2.7:3000") as client, pytest.raises(ServiceUnreachableError) as failed:
        client.models()

    assert f"through the proxy {without_credentials(proxy)}" in str(failed.value)
    assert "s3cret" not in str(failed.value)


def test_an_answer_of_the_proxys_own_names_it(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", service.url)
    service.answer(403, b"<html>Blocked</html>", path="")

    with Client(ELSEWHERE) as client, pytest.raises(UnexpectedAnswerError) as failed:
        client.models()

    assert f"{ELSEWHERE}/v1/models through the proxy {service.url} answered 403" in str(failed.value)


def test_no_proxy_in_the_environment_is_heeded(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", service.url)
    monkeypatch.setenv("NO_PROXY", "192.0.2.0/24")

    with Client(ELSEWHERE, connect_timeout_s=0.01) as client, pytest.raises(ServiceUnreachableError) as failed:
        client.models()

    assert "proxy" not in str(failed.value)
    assert service.requests == []


def test_a_proxy_of_the_callers_own_session_is_used_everywhere() -> None:
    session = requests.Session()
    session.proxies = {"http": f"http://user:s3cret@{NOBODY}"}

    with (
        session,
        Client("http://localhost:3000", session=session) as client,
        pytest.raises(ServiceUnreachableError, match=f"through the proxy http://{NOBODY} ") as failed,
    ):
        client.models()

    assert "s3cret" not in str(failed.value)


@given(st.sampled_from(["http://", "socks5://", ""]), st.text())
def test_a_url_is_shown_without_credentials_whatever_characters_they_hold(scheme: str, password: str) -> None:
    assert without_credentials(f"{scheme}user:{password}@proxy:3128") == f"{scheme}proxy:3128"
