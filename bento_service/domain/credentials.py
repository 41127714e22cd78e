"""Credentials in the URL of a database: how they have to be written so that none of them can reach a log."""

import re

ENCODING_ADVICE = (
    "In a user's name, a password and a parameter, `@`, `/`, `?`, `#`, `:`, `&` and `%` have to be percent-encoded: as "
    "%40, %2F, %3F, %23, %3A, %26 and %25."
)


def has_clear_host(url: str) -> bool:
    """Return whether every library finds the same host in a URL.

    RFC 3986 (3.2) ends user, password, host and port at the first `/`, `?` or `#`. Where an `@` follows, or where there
    are two, some libraries take a piece of the password for the host's name, which they then repeat in their errors.
    """
    authority = re.match(r"[^:/?#]*://[^/?#]*", url)
    end = authority.end() if authority else 0
    return url[:end].count("@") <= 1 and "@" not in url[end:]
