"""What a test sees of a page, and how it makes time pass there."""

import streamlit as st
from streamlit.testing.v1 import AppTest


def texts(app: AppTest) -> str:
    """Everything that a visitor can read in blocks of text."""
    blocks = [*app.title, *app.subheader, *app.markdown, *app.caption, *app.warning, *app.info, *app.error]
    return "\n".join(f"{getattr(block.proto, 'title', '')} {block.value}" for block in blocks)


def forget_reads() -> None:
    """Let every cached read be older than its time to live."""
    st.cache_data.clear()
