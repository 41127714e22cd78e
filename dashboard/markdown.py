"""Escapes file names, labels and the service's messages for Streamlit's Markdown."""

import re

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_REPLACED_AFTER_PARSING = re.compile(r"(?<=:)(?=\S)|(?<=\bwww)(?=\.)|(?=@)|(?<=-)(?=[->])|(?<=[<>~])(?=[-=])", re.I)
"""Where emoji and icons (`:smile:`), addresses and arrows (`->`) begin: Streamlit replaces them in escaped text too."""
_WORD_JOINER = "\u2060"


def literal(text: str) -> str:
    """Return Markdown that shows `text` as it is, on one line: no link, image, colour, icon, formula or HTML."""
    one_line = " ".join(text.split())
    return _PUNCTUATION.sub(r"\\\1", _REPLACED_AFTER_PARSING.sub(_WORD_JOINER, one_line))
