"""Query parameters that no widget is bound to: `?sample=`, `?request=`, and invalid values."""

from collections.abc import Collection, MutableMapping

import streamlit as st

from dashboard.gallery import SAMPLES, find_sample
from dashboard.markdown import literal
from dashboard.session import ClassifySession
from dashboard.uploads import Selection

SAMPLE, REQUEST = "sample", "request"


def follow_address(session: ClassifySession) -> None:
    """Show the sample or the earlier request that the address names, if it has changed."""
    sample_key, request_id = st.query_params.get(SAMPLE), st.query_params.get(REQUEST)
    if sample_key and sample_key != session.sample_key:
        sample = find_sample(sample_key)
        if sample is None:
            known = ", ".join(known.key for known in SAMPLES)
            session.notes[SAMPLE] = f"The address asks for {SAMPLE}={sample_key!r}. Allowed: {known}."
            del st.query_params[SAMPLE]
        else:
            session.show_sample(sample)
    elif request_id and request_id != session.request_id:
        session.show(Selection())
        session.request_id = request_id


def write_address(session: ClassifySession) -> None:
    """Write what is on the Classify page to the address, so that a reload or a link shows it again.

    Call it after every change: `follow_address` takes any difference for a link that the visitor followed.
    """
    for name, value in ((SAMPLE, session.sample_key), (REQUEST, "" if session.sample_key else session.request_id)):
        if st.query_params.get(name, "") == value:
            continue
        if value:
            st.query_params[name] = value
        else:
            del st.query_params[name]


def note_unknown(notes: MutableMapping[str, str], name: str, allowed: Collection[str]) -> None:
    """Note an invalid value of a widget in the address; Streamlit then uses the default.

    Call it before the widget is made, which removes its value from the address.
    """
    given = st.query_params.get(name)
    if given is not None and given not in allowed:
        notes[name] = f"The address asks for {name}={given!r}. Allowed: {', '.join(allowed)}."


def show_notes(notes: MutableMapping[str, str]) -> None:
    """Show the invalid values of the address until the visitor dismisses them."""
    if notes:
        st.warning("  \n".join(literal(note) for note in notes.values()), icon=":material/link_off:")
        st.button("Dismiss", key="dismiss_notes", type="tertiary", on_click=notes.clear)
