"""Credentials in the URL of a database, which must never reach a log."""

import re

ENCODING_ADVICE = (
    "In a user's name, a password and a parameter, `@`, `/`, `?`, `#`, `:`, `&` and `%` have to be percent-encoded: as "
    "%40, %2F, %3F, %23, %3A, %26 and %25."
)


def has_clear_host(url: str) -> bool:
    """Whether every library parses the same host from a URL.

    RFC 3986 (3.2) ends user, password, host and port at the first `/`, `?` or `#`. With an `@` after that, or with two,
    some libraries take a part of the password as the host, and their errors would show it.
    """
    authority = re.match(r"[^:/?#]*://[^/?#]*", url)
    end = authority.end() if authority else 0
    return url[:end].count("@") <= 1 and "@" not in url[end:]
