"""File names as text: Linux allows any bytes in a name but `/` and NUL."""

from pathlib import Path


def to_text(path: Path | str) -> str:
    r"""Return a file name for JSON, CSV and HTML: bytes that are not UTF-8 become escapes such as `\xe9`."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def to_line(path: Path | str) -> str:
    r"""Return a file name for a terminal: as `to_text`, with control characters as escapes such as `\n` too."""
    shown = to_text(path)
    if shown.isprintable():
        return shown
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in shown)
