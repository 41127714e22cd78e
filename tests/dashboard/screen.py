"""What a test sees of a page, and how it makes time pass there."""

import re

import streamlit as st
from streamlit.testing.v1 import AppTest


def texts(app: AppTest) -> str:
    """Everything that a visitor can read in blocks of text."""
    titles = [*app.title, *app.header, *app.subheader]
    blocks = [*titles, *app.markdown, *app.caption, *app.warning, *app.info, *app.error]
    return as_read("\n".join(f"{getattr(block.proto, 'title', '')} {block.value}" for block in blocks))


def headline(app: AppTest) -> str:
    """The first heading below the page's title."""
    return as_read(app.header[0].value)


def as_read(markdown: str) -> str:
    """Take out what keeps Markdown from being more than text."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown.replace("\u2060", ""))


def forget_reads() -> None:
    """Let every cached read be older than its time to live."""
    st.cache_data.clear()
