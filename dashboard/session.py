"""What one visitor's session keeps between reruns and page switches."""

from dataclasses import dataclass, field
from typing import TypeVar

import streamlit as st

from dashboard import wording
from dashboard.reads import Traffic
from dashboard.service import Outcome
from dashboard.uploads import Selection
from lightbox_client.contract import ModelCard

State = TypeVar("State")

OutcomeKey = tuple[str, str]
"""An image's digest and a model's version: equal keys have equal answers."""


@dataclass
class ClassifySession:
    """The images on the page and what became of them. `cards` and `is_away` are the service as last seen.

    `samples_taken` counts: each sample empties the widget that held the visitor's own images.
    """

    selection: Selection = field(default_factory=Selection)
    outcomes: dict[OutcomeKey, Outcome] = field(default_factory=dict)
    cards: tuple[ModelCard, ...] = ()
    is_away: bool = False
    samples_taken: int = 0

    def show(self, selection: Selection) -> None:
        """Put these images on the page; answers of images that are gone are forgotten."""
        self.selection = selection
        digests = {image.digest for image in selection.images}
        self.outcomes = {key: outcome for key, outcome in self.outcomes.items() if key[0] in digests}

    def forget_passing_failures(self) -> None:
        """Let every image that failed for a passing reason be asked for again."""
        self.outcomes = {key: outcome for key, outcome in self.outcomes.items() if not wording.is_passing(outcome)}


@dataclass
class PerformanceSession:
    """The last traffic that was read, for when the service is away, and whether it is away."""

    traffic: Traffic | None = None
    is_away: bool = False
    model_names: tuple[str, ...] = ()


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
