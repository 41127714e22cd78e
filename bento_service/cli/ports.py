"""Is an address free to listen on? Asked before a server starts, so that its answer is one line and not a traceback."""

import errno
import socket

ANY_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound


class PortTakenError(Exception):
    """Another process listens on the address."""


class AddressUnusableError(Exception):
    """The address cannot be listened on: no such host, not this machine's, or not permitted."""


def check_port_free(host: str, port: int) -> None:
    """Return if a server could bind `host:port` now.

    Binds and lets go, without SO_REUSEPORT: two BentoML servers of one user would otherwise share a port unnoticed.

    Raises:
        PortTakenError: Something listens there.
        AddressUnusableError: Anything else that binding fails with, in the system's words.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(f"port {port} on {host} is taken by another process") from error
        raise AddressUnusableError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def local_url(host: str, port: int) -> str:
    """Return the URL by which this machine reaches a server bound to `host`, wildcards included."""
    reachable = ANY_ADDRESSES.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
