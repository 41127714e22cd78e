"""Proxies of the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`), and how errors name them."""

import re
import socket
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine: `localhost`, 127.0.0.0/8, `::1`, or an address of no host (0.0.0.0, `::`).

    No proxy leads there: it would ask its own machine.
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host) if ":" in host else ip_address(socket.inet_aton(host))  # which takes 127.1 too
    except (OSError, ValueError):
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def find_proxy(url: str) -> str | None:
    """Return the proxy that the environment names for a URL, as `without_credentials`; None for loopback."""
    proxy = None if is_loopback(url) else select_proxy(url, get_environ_proxies(url))
    return without_credentials(proxy) if proxy else None


def describe_target(url: str) -> str:
    """Return a URL to show, with the proxy of the environment that stands before it, if any."""
    proxy = find_proxy(url)
    shown = without_credentials(url)
    return f"{shown} through the proxy {proxy}" if proxy else shown


def without_credentials(url: str) -> str:
    """Return a URL to show: without user and password, whatever characters they hold."""
    scheme = _SCHEME.match(url)
    start = scheme.end() if scheme else 0
    return url[:start] + url[start:].rpartition("@")[2]
