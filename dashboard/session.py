"""What one visitor's session keeps between reruns and page switches."""

from dataclasses import dataclass, field
from typing import TypeVar

import streamlit as st

from dashboard import wording
from dashboard.charts.theme import Scheme
from dashboard.gallery import Sample
from dashboard.reads import ReceiptsPage, Traffic
from dashboard.service import Outcome
from dashboard.uploads import Selection, pick
from lightbox_client.contract import ModelCard

State = TypeVar("State")

OutcomeKey = tuple[str, str]
"""An image's digest and a model's version: equal keys have equal answers."""


@dataclass
class ClassifySession:
    """The images on the page and what became of them. `cards` and `is_away` are the service as last seen.

    `sample_key` names the sample on the page, if it is one. `request_id` names the answer on the page if it is a single
    one, or the earlier request that the address asks for. `notes` name values of the address that do not exist, by
    parameter. `widgets_made` counts: to empty the widget that holds the visitor's own images, it gets another name.
    """

    selection: Selection = field(default_factory=Selection)
    outcomes: dict[OutcomeKey, Outcome] = field(default_factory=dict)
    cards: tuple[ModelCard, ...] = ()
    is_away: bool = False
    widgets_made: int = 0
    sample_key: str = ""
    request_id: str = ""
    has_text_only: bool = False
    notes: dict[str, str] = field(default_factory=dict)

    def show(self, selection: Selection) -> None:
        """Put these images on the page; answers of images that are gone are forgotten."""
        self.selection = selection
        self.sample_key = self.request_id = ""
        self.has_text_only = False
        digests = {image.digest for image in selection.images}
        self.outcomes = {key: outcome for key, outcome in self.outcomes.items() if key[0] in digests}

    def show_sample(self, sample: Sample) -> None:
        """Put a sample on the page, and empty the widget that holds the visitor's own images.

        A file that is still listed beside another image's answer would look as if it were the one answered.
        """
        self.show(Selection(images=(pick(sample.name, sample.path.read_bytes()),)))
        self.sample_key = sample.key
        self.widgets_made += 1

    def forget_passing_failures(self) -> None:
        """Let every image that failed for a passing reason be asked for again."""
        self.outcomes = {key: outcome for key, outcome in self.outcomes.items() if not wording.is_passing(outcome)}


@dataclass
class RequestsTable:
    """The table of requests as it was last drawn, and which page of which question that is.

    Its first page follows the time. It stands still on a later page, and while one of its rows is open.
    `tables_made` counts: to clear its order and selection, the widget gets another name.
    """

    drawn: ReceiptsPage | None = None
    drawn_for: object = None
    page: int = 0
    is_row_open: bool = False
    tables_made: int = 0

    def begin(self, question: object) -> None:
        """Go back to the first page where the question is another than the last one."""
        if question != self.drawn_for:
            self.drawn, self.drawn_for, self.page, self.is_row_open = None, question, 0, False
            self.tables_made += 1

    def turn_page(self, step: int) -> None:
        """Show the next or the previous page of what was last drawn."""
        self.page = max(0, self.page + step)
        self.is_row_open = False
        self.tables_made += 1

    def close_row(self) -> None:
        """Let the table follow the time again, without a selection."""
        self.is_row_open = False
        self.tables_made += 1


@dataclass
class PerformanceSession:
    """The last traffic that was read, for when the service is away, and whether it is away.

    `notes` name values of the address that do not exist, by parameter.
    """

    traffic: Traffic | None = None
    is_away: bool = False
    model_names: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    table: RequestsTable = field(default_factory=RequestsTable)


def color_scheme() -> Scheme:
    """Return the colours that this visitor's browser shows the page in."""
    return "dark" if st.context.theme.type == "dark" else "light"


def classify_session() -> ClassifySession:
    """Return this visitor's state of the Classify page."""
    return _kept("classify_session", ClassifySession)


def performance_session() -> PerformanceSession:
    """Return this visitor's state of the Performance page."""
    return _kept("performance_session", PerformanceSession)


def _kept(key: str, kind: type[State]) -> State:
    if key not in st.session_state:
        st.session_state[key] = kind()
    state = st.session_state[key]
    if not isinstance(state, kind):
        raise TypeError(f"session_state[{key!r}] is a {type(state).__name__}, not a {kind.__name__}")
    return state
