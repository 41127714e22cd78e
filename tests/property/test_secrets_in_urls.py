"""No piece of a secret in a URL reaches a log, an error or a traceback, however the URL is written."""

import asyncio
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_service.cache.redis_store import RedisStore
from bento_service.cli.errors import CommandError, read_settings
from bento_service.errors import CacheUrlError, JournalUnavailableError, JournalUrlError
from bento_service.journal.store import migrate
from bento_service.settings import Settings

PIECE = "zqx"
HOST = "127.0.0.1:1"
"""Nothing listens there, so connections are refused at once."""

secrets = st.lists(st.sampled_from([*"@/#?:&%+=[] ,'\\$", "://", "%40", "", "5432"]), min_size=1, max_size=6).map(
    lambda marks: PIECE + "".join(f"{mark}{PIECE}" for mark in marks)
)
written = st.one_of(secrets, secrets.map(lambda secret: quote(secret, safe="")))
users = st.sampled_from(["lightbox", "", "a%40b", "us/er"])


@st.composite
def urls(draw: st.DrawFn, schemes: tuple[str, ...], parameters: tuple[str, ...], database: str) -> str:
    scheme, user, secret = draw(st.sampled_from(schemes)), draw(users), draw(written)
    url = draw(
        st.sampled_from([f"{user}:{secret}@{HOST}", f"{user}:{secret}@", f"{secret}@{HOST}", f"{user}@{HOST}", HOST])
    )
    url += draw(st.sampled_from([f"/{database}", "", "/"]))
    names = draw(st.lists(st.sampled_from(parameters), max_size=2))
    query = "&".join(f"{name}={draw(written)}" for name in names)
    return f"{scheme}://{url}" + (f"?{query}" if query else "")


@contextmanager
def watched_log() -> Iterator[StringIO]:
    """Yield everything that is logged, with tracebacks."""
    log = StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        yield log
    finally:
        logging.getLogger().removeHandler(handler)


def explain(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


@settings(max_examples=80, deadline=None)
@given(
    url=urls(
        ("postgresql", "postgres", "postgresql+psycopg", "mysql"),
        ("password", "sslpassword", "oauth_client_secret", "pasword", "host=127.0.0.1&password"),
        "lightbox",
    )
)
def test_no_piece_of_a_secret_in_the_journals_url_is_shown(url: str) -> None:
    with watched_log() as said, pytest.raises((JournalUrlError, JournalUnavailableError)) as refusal:
        migrate(url)
    said.write(explain(refusal.value))
    with pytest.raises(CommandError) as rejection:
        read_settings(journal_url=url, default_model="nothing")
    said.write(explain(rejection.value))
    said.write(repr(Settings(journal_url=url)) + Settings(journal_url=url).model_dump_json())

    assert PIECE not in said.getvalue()


@settings(max_examples=50, deadline=None)
@given(
    url=urls(("redis", "rediss", "unix", "memcached"), ("password", "ssl_password", "pasword", "db=1&password"), "0")
)
def test_no_piece_of_a_secret_in_the_caches_url_is_shown(url: str) -> None:
    async def ask() -> None:
        store = RedisStore(url, on_failure=lambda operation: None)
        for _ in range(5):
            await store.get("key")
        await store.close()

    with watched_log() as said:
        try:
            asyncio.run(ask())
        except CacheUrlError as error:
            said.write(explain(error))
        else:
            assert "does not serve the cache" in said.getvalue()
    said.write(repr(Settings(cache_url=url)))

    assert PIECE not in said.getvalue()
