"""The URL that a load goes to, resolved once."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from lightbox_client.errors import InvalidAddressError, ServiceUnreachableError
from lightbox_client.proxies import find_proxy, without_credentials

_PORTS = {"http": 80, "https": 443}


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


def resolve(url: str, *, connect_timeout_s: float = 3.0) -> Address:
    """Resolve the URL's host and connect to it once. Proxies of the environment are not used: they would be measured.

    Raises:
        InvalidAddressError: It is no http or https URL.
        ServiceUnreachableError: There is no such host, or nothing takes connections there.
    """
    parts = _split(url)
    hostname, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    try:
        with socket.create_connection((hostname, port), connect_timeout_s) as probe:
            ip = str(probe.getpeername()[0])
    except (OSError, UnicodeError) as error:
        # Python's codec for international names raises UnicodeError.
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "no such name"
        proxy = find_proxy(url)
        unused = f" The proxy {proxy} is not used, since it would be measured too." if proxy else ""
        shown = without_credentials(url)
        raise ServiceUnreachableError(
            f"cannot reach {shown} ({reason}); is the service running there?{unused}"
        ) from error
    return Address(
        ip=ip,
        port=port,
        hostname=hostname,
        authority=parts.netloc.rpartition("@")[2],
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        is_tls=parts.scheme == "https",
    )


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
