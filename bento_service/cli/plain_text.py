"""Texts of a model's files, for a terminal."""

import unicodedata


def to_plain(text: str) -> str:
    r"""Return a text with control characters, which a terminal obeys, as escapes such as `\x1b`; line breaks stay."""
    return "".join(repr(letter)[1:-1] if _is_control(letter) else letter for letter in text)


def _is_control(letter: str) -> bool:
    # A surrogate is half a character, which no stream takes.
    return letter != "\n" and unicodedata.category(letter) in {"Cc", "Cs"}
