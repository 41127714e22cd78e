import pytest

from bento_service.database.url import describe_url, parse_url
from bento_service.errors import JournalUnavailableError, JournalUrlError
from bento_service.journal.store import SqlJournalStore


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_means_psycopg_3(scheme: str) -> None:
    url = parse_url(f"{scheme}://user:secret@host:5433/lightbox")
    assert url.render_as_string(hide_password=False) == "postgresql+psycopg://user:secret@host:5433/lightbox"


def test_a_sqlite_file_is_taken_as_it_is() -> None:
    assert parse_url("sqlite:////var/lib/lightbox/journal.sqlite3").database == "/var/lib/lightbox/journal.sqlite3"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:secret@host:5433/lightbox?sslpassword=secret", "postgresql://host:5433/lightbox"),
        ("postgresql:///lightbox?host=/run/a&host=b&password=secret", "postgresql:///run/a,b/lightbox"),
        ("sqlite:////data/journal.sqlite3?timeout=1", "sqlite:////data/journal.sqlite3"),
    ],
)
def test_a_description_shows_kind_host_and_database_only(url: str, shown: str) -> None:
    assert describe_url(parse_url(url)) == shown


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://user:secret@host/db", "begins with 'mysql'"),
        ("postgresql+psycopg2://user:secret@host/db", "begins with"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("secret", "cannot be read"),
        ("", "cannot be read"),
        ("postgresql://user:secret@host:port/db", "cannot be read"),
        ("postgresql://user:p@secret@host/db", "more than one `@`"),
        ("postgresql://user:p/secret@host/db", "percent-encoded"),
        ("postgresql://user:p#secret@host/db", "percent-encoded"),
        ("postgresql://host:5432/db?password=p@secret", "percent-encoded"),
        ("postgresql://host/db?password=p&secret=x", "a parameter that PostgreSQL's clients do not know"),
        ("sqlite://secret/journal.sqlite3", "a slash is missing"),
    ],
)
def test_an_error_about_a_url_hides_its_password(url: str, complaint: str) -> None:
    with pytest.raises(JournalUrlError, match=complaint) as caught:
        parse_url(url)
    assert "secret" not in caught.value.message
    assert "sqlite:///<path>" in caught.value.message or "libpq-connect.html" in caught.value.message


def test_the_error_about_an_unreachable_server_hides_its_password() -> None:
    # Nothing listens on port 1, so the connection is refused at once.
    store = SqlJournalStore("postgresql://user:secret@127.0.0.1:1/lightbox")
    with pytest.raises(JournalUnavailableError, match=r"127\.0\.0\.1") as caught:
        store.migrate()
    assert "secret" not in str(caught.value)
    assert "127.0.0.1" not in caught.value.message
    store.close()
