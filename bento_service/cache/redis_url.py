"""The cache's URL: checking it, and opening a pool of connections to the Redis that it names."""

from urllib.parse import unquote, urlsplit

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bento_service.domain.credentials import ENCODING_ADVICE, has_clear_host
from bento_service.errors import CacheUrlError

_MAX_CONNECTIONS = 16
_MAX_DATABASE = 2**31 - 1
"""Redis reads the number as an int (selectCommand, db.c); it has 16 databases unless configured with more."""


def open_pool(url: str) -> ConnectionPool:
    """Return a pool that has not connected yet.

    Raises:
        CacheUrlError: redis-py cannot read the URL, or it names no database that Redis can have.
    """
    try:
        if not has_clear_host(url):
            raise ValueError
        pool = ConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            retry=Retry(NoBackoff(), 0),
            # Fewer round trips before the first command: no HELLO, no CLIENT SETINFO.
            protocol=2,
            driver_info=None,
        )
        # These override the URL's own parameters. redis-py 8.1 sends under `asyncio.wait_for` if it has a time-out,
        # which on Python 3.11 may lose the cancellation of a request, so the store brings its own (ADR 10).
        pool.connection_kwargs.update(decode_responses=False, socket_timeout=None)
        pool.connection_class(**pool.connection_kwargs)  # raises for parameters that redis-py does not know
    except (ValueError, TypeError):
        raise CacheUrlError(
            "The cache's URL cannot be read. LIGHTBOX_CACHE_URL takes `redis://[user:password@]host:port/number`, "
            f"`rediss://…` for TLS, or `unix://path`. {ENCODING_ADVICE}"
        ) from None
    _check_database(url, pool.connection_kwargs.get("db"))
    return pool


def _check_database(url: str, chosen: object) -> None:
    """Refuse databases that redis-py takes and Redis does not have; to redis-py a path that is no number means 0."""
    parts = urlsplit(url)
    named = "" if parts.scheme == "unix" else unquote(parts.path).strip("/")
    for database in (named, "" if chosen is None else str(chosen)):
        if database and not (database.isascii() and database.isdigit() and int(database) <= _MAX_DATABASE):
            # Not shown: in a URL whose password has a "/" of its own, it is part of the password.
            raise CacheUrlError(
                "The cache's URL names no database that Redis can have. LIGHTBOX_CACHE_URL ends in its number, such as "
                "`redis://host:6379/0`; a `/`, `@`, `?` or `#` in the password is written as %2F, %40, %3F or %23."
            )
