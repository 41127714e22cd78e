"""Who may change what the service serves, as long as there are no keys (docs/adr/0037-registry.md)."""

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request

from bento_service.errors import ForeignRequestError, ModelControlFixedError
from bento_service.settings import Settings, is_loopback


def require_control(request: Request, settings: Settings) -> None:
    """Refuse a call that would change what is served, unless this caller may.

    A browser says in `Origin` which page sends a request, and so would any page of the internet that posts to this
    machine. A page that has its own name resolve to this machine sends that name as `Host` too: so `Origin` and `Host`
    that agree show a page of this service only where they are an address.

    Raises:
        ModelControlFixedError: The settings fix what is served.
        ForeignRequestError: A page of another origin sends it; or the service is on loopback, and the host that was
            asked for is not; or it came in through another address of this machine, and anonymous callers are not
            allowed.
    """
    if settings.model_control == "fixed":
        raise ModelControlFixedError(
            "What this service serves is fixed by its settings. Set LIGHTBOX_MODEL_CONTROL=explicit to change it while "
            "it runs."
        )
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    is_own = origin is None or origin in settings.cors_origins or (_is_address(host) and _host_of(origin) == host)
    if not is_own:
        raise ForeignRequestError(
            f"A page of {origin!r} may not change what this service serves. Ask from a page at the service's own "
            "address, from an origin in LIGHTBOX_CORS_ORIGINS, or without a browser.",
            origin=origin,
        )
    if is_loopback(settings.host) and not is_loopback(_name_of(host)):
        raise ForeignRequestError(
            f"This service listens on this machine only, and the request asks for the host {host!r}. Use 127.0.0.1 or "
            "localhost.",
            host=host,
        )
    if not settings.allow_anonymous and not _came_by_loopback(request):
        raise ForeignRequestError(
            "Callers from other machines may not change what this service serves. LIGHTBOX_ALLOW_ANONYMOUS=true lets "
            "everyone do it who reaches the port."
        )


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name_of(host: str) -> str:
    """Return a Host without its port; empty if it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    """Whether nobody else can have this Host resolve to this machine: an IP address, or `localhost`."""
    name = _name_of(host)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return is_loopback(name)
    return True


def _came_by_loopback(request: Request) -> bool:
    """Whether the connection's own end is a loopback address: `bentoml serve --host` may have bound another one."""
    server = request.scope.get("server")
    if server is None or server[1] is None:
        return True  # a Unix socket, whose permissions decide
    try:
        return ipaddress.ip_address(server[0]).is_loopback
    except ValueError:
        return is_loopback(server[0])
