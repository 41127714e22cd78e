"""The journal's URL: parsing it, and describing it without secrets."""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from bento_service.domain.credentials import ENCODING_ADVICE, has_clear_host
from bento_service.errors import JournalUrlError

_ALLOWED = "LIGHTBOX_JOURNAL_URL takes `sqlite:///<path>` or `postgresql://<user>:<password>@<host>/<database>`."


def parse_url(url: str) -> URL:
    """Return the SQLAlchemy URL of a journal.

    `postgresql://` and `postgres://` mean psycopg 3, the driver that Lightbox installs.

    Raises:
        JournalUrlError: It is no URL, not SQLite or PostgreSQL, SQLite in memory, which processes cannot share, or
            ambiguous about its host or parameters. The message repeats nothing that may be a secret.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise JournalUrlError(f"The journal's URL cannot be read. {_ALLOWED} {ENCODING_ADVICE}") from None
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"}:
        _check_file(parsed)
        return parsed
    if parsed.drivername not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise JournalUrlError(f"The journal's URL begins with {parsed.drivername!r}. {_ALLOWED}")
    if not has_clear_host(url):
        raise JournalUrlError(f"The journal's URL has more than one `@`, or one too late. {_ALLOWED} {ENCODING_ADVICE}")
    _check_parameters(parsed)
    return parsed.set(drivername="postgresql+psycopg")


def describe_url(url: URL) -> str:
    """Return the kind of database, its host and its name: no user, no password and no parameter."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    host = url.query.get("host") or (f"{url.host}:{url.port}" if url.port else url.host) or ""
    return f"postgresql://{host if isinstance(host, str) else ','.join(host)}/{url.database or ''}"


def _check_file(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        raise JournalUrlError(f"The journal's URL names no file: a journal in memory cannot be shared. {_ALLOWED}")
    if url.host or url.username:
        raise JournalUrlError(f"The journal's URL names a host, which SQLite has not: a slash is missing. {_ALLOWED}")


def _check_parameters(url: URL) -> None:
    from psycopg.pq import Conninfo  # noqa: PLC0415 - a journal in SQLite has no use for it

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    if not url.query.keys() <= known:
        # Its name is not repeated: it may be the end of a password with an `&`.
        raise JournalUrlError(
            "LIGHTBOX_JOURNAL_URL has a parameter that PostgreSQL's clients do not know. They know those of "
            f"https://www.postgresql.org/docs/current/libpq-connect.html (`sslmode`, `passfile`). {ENCODING_ADVICE}"
        )
