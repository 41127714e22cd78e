"""The state of one visitor's session, kept between reruns and page switches."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeVar

import streamlit as st

from dashboard import wording
from dashboard.charts.theme import Scheme
from dashboard.gallery import Sample
from dashboard.reads import ReceiptsPage, Traffic
from dashboard.service import MapOutcome, Outcome
from dashboard.uploads import Selection, pick
from lightbox_client.contract import ModelCard

State = TypeVar("State")

OutcomeKey = tuple[str, str]
"""An image's digest and a model's version: equal keys have equal answers."""
MapKey = tuple[str, str, int]
"""An image's digest, a model's version and a class_id."""
DEFAULT_OPACITY = 70


@dataclass
class Maps:
    """The maps that were read for the images on the page, and how the visitor looks at them.

    `is_on` and `opacity` (in per cent) are the visitor's last choice, for the next image. `estimates` are the maps that
    the visitor wants although they take many runs of the model; `without_cam` are the versions that have no others.
    """

    is_on: bool = False
    opacity: int = DEFAULT_OPACITY
    found: dict[MapKey, MapOutcome] = field(default_factory=dict)
    estimates: set[MapKey] = field(default_factory=set)
    without_cam: set[str] = field(default_factory=set)

    def keep_only(self, digests: Collection[str]) -> None:
        """Drop the maps of all other images."""
        self.found = {key: outcome for key, outcome in self.found.items() if key[0] in digests}
        self.estimates = {key for key in self.estimates if key[0] in digests}

    def forget(self, key: MapKey) -> None:
        """Drop one map, so that it is read again."""
        self.found.pop(key, None)

    def forget_passing_failures(self) -> None:
        """Drop what failed for a passing reason, so that it is tried again."""
        self.found = {key: outcome for key, outcome in self.found.items() if not wording.is_passing(outcome)}


@dataclass
class ClassifySession:
    """The images on the page with their outcomes, and the service's last known models and state.

    `sample_key` is the sample on the page, if any. `request_id` is the only answer on the page, or the earlier request
    in the address. `notes` hold invalid values of the address, by parameter. `widgets_made` is part of the upload
    widget's key: a new key empties the widget.
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
    maps: Maps = field(default_factory=Maps)

    def show(self, selection: Selection) -> None:
        """Put these images on the page and drop the outcomes of all others."""
        self.selection = selection
        self.sample_key = self.request_id = ""
        self.has_text_only = False
        digests = {image.digest for image in selection.images}
        self.outcomes = {key: outcome for key, outcome in self.outcomes.items() if key[0] in digests}
        self.maps.keep_only(digests)

    def show_sample(self, sample: Sample) -> None:
        """Put a sample on the page and empty the upload widget, whose files would seem to belong to the answer."""
        self.show(Selection(images=(pick(sample.name, sample.path.read_bytes()),)))
        self.sample_key = sample.key
        self.widgets_made += 1

    def forget_passing_failures(self) -> None:
        """Drop what failed for a passing reason, of images and their maps, so that it is tried again."""
        self.outcomes = {key: outcome for key, outcome in self.outcomes.items() if not wording.is_passing(outcome)}
        self.maps.forget_passing_failures()


@dataclass
class RequestsTable:
    """The table of requests as last drawn, with its query and its page.

    The first page refreshes; a later page, or one with an open row, does not. `tables_made` is part of the widget's
    key: a new key clears its order and selection.
    """

    drawn: ReceiptsPage | None = None
    drawn_for: object = None
    page: int = 0
    is_row_open: bool = False
    tables_made: int = 0

    def begin(self, query: object) -> None:
        """Go back to the first page if the query has changed."""
        if query != self.drawn_for:
            self.drawn, self.drawn_for, self.page, self.is_row_open = None, query, 0, False
            self.tables_made += 1

    def turn_page(self, step: int) -> None:
        """Show the next or the previous page."""
        self.page = max(0, self.page + step)
        self.is_row_open = False
        self.tables_made += 1

    def close_row(self) -> None:
        """Clear the selection and refresh again."""
        self.is_row_open = False
        self.tables_made += 1


@dataclass
class PerformanceSession:
    """The last traffic, shown while the service is away; `notes` hold invalid values of the address, by parameter."""

    traffic: Traffic | None = None
    is_away: bool = False
    model_names: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    table: RequestsTable = field(default_factory=RequestsTable)


def color_scheme() -> Scheme:
    """Return the colour scheme of this visitor's page."""
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
