"""The URL that a load goes to, resolved once."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from lightbox_client.errors import InvalidAddressError, ServiceUnreachableError
from lightbox_client.proxies import find_proxy, without_credentials

_PORTS = {"http": 80, "https": 443}
_CONNECT_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Address:
    """A resolved URL.

    `ip` is what the load connects to; `authority` is the Host header, `target` the request's path and query.
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


def resolve(url: str) -> Address:
    """Resolve the URL's host and connect to it once. Proxies of the environment are not used: they would be measured.

    Raises:
        InvalidAddressError: It is no http or https URL.
        ServiceUnreachableError: There is no such host, or nothing takes connections there.
    """
    parts, port = _split(url)
    hostname = parts.hostname or ""
    try:
        with socket.create_connection((hostname, port), _CONNECT_TIMEOUT_S) as probe:
            ip = str(probe.getpeername()[0])
    except (OSError, UnicodeError) as error:  # UnicodeError: from the idna codec, for an invalid host name
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "no such name"
        message = f"cannot reach {without_credentials(url)} ({reason}); is the service running there?"
        if proxy := find_proxy(url):
            message += f" The proxy {proxy} is not used, since it would be measured too."
        raise ServiceUnreachableError(message) from error
    return Address(
        ip=ip,
        port=port,
        hostname=hostname,
        authority=parts.netloc.rpartition("@")[2],
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        is_tls=parts.scheme == "https",
    )


def _split(url: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = _PORTS[parts.scheme] if parts.port is None else parts.port
        is_usable = bool(parts.hostname) and port > 0 and url.isascii() and url.isprintable() and " " not in url
    except (ValueError, KeyError):
        is_usable = False
    if not is_usable:
        shown = without_credentials(url)
        raise InvalidAddressError(f"{shown!r} is no address of a service; it looks like http://127.0.0.1:3000")
    return parts, port
