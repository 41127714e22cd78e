"""Where a load goes: one URL, resolved once, and whether that is a place near enough to load without asking."""

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from lightbox_client.errors import InvalidAddressError, ServiceUnreachableError
from lightbox_client.proxies import find_proxy, without_credentials

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """A resolved URL.

    `ip` is what is connected to; `authority` goes into the Host header, `target` (path and query) into the request.
    """

    ip: str
    port: int
    hostname: str
    authority: str
    target: str
    is_tls: bool

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        return ipaddress.ip_address(self.ip).is_loopback

    @property
    def is_nearby(self) -> bool:
        """Whether the server is on this machine or in a private network."""
        return ipaddress.ip_address(self.ip).is_private


def resolve(url: str, *, connect_timeout_s: float = 3.0) -> Address:
    """Look the URL's host up and connect to it once. Proxies of the environment are passed by: they would be measured.

    Raises:
        InvalidAddressError: It is no http or https URL.
        ServiceUnreachableError: There is no such host, or nothing takes connections there.
    """
    parts = _split(url)
    hostname, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    return Address(
        ip=_first_that_connects(url, hostname, port, connect_timeout_s),
        port=port,
        hostname=hostname,
        authority=parts.netloc.rpartition("@")[2],
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        is_tls=parts.scheme == "https",
    )


def tls_context(address: Address) -> ssl.SSLContext | None:
    """Return what verifies the server's certificate, or None for plain HTTP."""
    return ssl.create_default_context() if address.is_tls else None


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_usable = False
    if not is_usable or not url.isascii() or any(character <= " " for character in url):
        shown = without_credentials(url)
        raise InvalidAddressError(f"{shown!r} is no address of a service; it looks like http://127.0.0.1:3000")
    return parts


def _first_that_connects(url: str, hostname: str, port: int, timeout_s: float) -> str:
    reason = "no address"
    try:
        for family, kind, protocol, _, place in socket.getaddrinfo(hostname, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.settimeout(timeout_s)
                try:
                    probe.connect(place)
                except OSError as error:
                    reason = error.strerror or str(error)
                else:
                    return str(place[0])
    except socket.gaierror as error:
        reason = error.strerror or str(error)
    except UnicodeError:  # from the encoding of international names
        reason = "no such name"
    proxy = find_proxy(url)
    unused = f" The proxy {proxy} is not used, since it would be measured too." if proxy else ""
    shown = without_credentials(url)
    raise ServiceUnreachableError(f"cannot reach {shown} ({reason}); is the service running there?{unused}")
