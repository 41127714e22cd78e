import re

from hypothesis import given
from hypothesis import strategies as st

from dashboard.markdown import literal
from tests.dashboard.screen import as_read


@given(st.text())
def test_a_text_stays_readable_on_one_line(text: str) -> None:
    shown = as_read(literal(text.replace("\u2060", "")))
    assert shown == " ".join(text.replace("\u2060", "").split())


@given(st.text(alphabet="*_`[]()<>!#~$|&:-@a"))
def test_every_sign_of_markdown_is_escaped(text: str) -> None:
    without_escaped_signs = re.sub(r"\\[!-/:-@\[-`{-~]", "", literal(text))
    assert set(without_escaped_signs) <= {"a", "\u2060"}
