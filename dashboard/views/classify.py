"""The Classify page: images in, answers out. Wiring only."""

import streamlit as st

from dashboard import wording
from dashboard.address import follow_address, note_unknown, show_notes, write_address
from dashboard.markdown import literal
from dashboard.panels.answer import show_answer, show_earlier_answer, show_empty, show_refusal
from dashboard.panels.intake import ANSWERS, show_intake
from dashboard.panels.outage import rerun_once_back, show_banner
from dashboard.reads import forget_models, open_service, read_models
from dashboard.service import Service
from dashboard.session import ClassifySession, classify_session
from dashboard.uploads import BYTES_PER_MB
from lightbox_client import LightboxClientError
from lightbox_client.contract import Classification, ModelCard
from lightbox_client.errors import NotReadyError, ServiceUnreachableError

ASKED_TOP_K = 20  # asked for once, so that showing more or fewer classes costs the service nothing
SHOWN_TOP_K = 5


def render() -> None:
    """Draw the page: input on the left, answers on the right; on a telephone one below the other."""
    service, session = open_service(), classify_session()
    follow_address(session)
    st.title("What is in the picture?", anchor=False)
    own, answers = st.columns([5, 13], gap="large")
    with own:
        show_intake(service.settings)
    outage = _read_cards(service, session)
    with answers:
        notice = st.container()
    if session.cards:
        with own:
            card = _choose_model(session)
        with answers, st.container(key=ANSWERS):
            outage = _show_answers(service, session, card) or outage
    elif session.selection.images:
        with answers:
            _show_waiting(session)
    with notice:
        show_notes(session.notes)
        if outage is not None:
            show_banner(outage, service, key="classify_retry")
            rerun_once_back(service.models)
    write_address(session)


def _read_cards(service: Service, session: ClassifySession) -> LightboxClientError | None:
    """Refresh the models. While the service is away keep the last ones; once it is back, retry what failed."""
    try:
        session.cards = tuple(read_models(service).models)
    except LightboxClientError as error:
        session.is_away = True
        return error
    if session.is_away:
        session.is_away = False
        session.forget_passing_failures()
    return None


def _choose_model(session: ClassifySession) -> ModelCard:
    by_name = {card.name: card for card in session.cards}
    default = next((position for position, card in enumerate(session.cards) if card.is_default), 0)
    note_unknown(session.notes, "classify_model", list(by_name))
    name = st.selectbox("Model", list(by_name), index=default, key="classify_model", bind="query-params")
    card = by_name[name]
    st.caption(literal(wording.model_line(card)))
    return card


def _choose_top_k(card: ModelCard) -> int:
    most = min(ASKED_TOP_K, card.labels_count)
    return st.slider(
        "Classes shown",
        min_value=1,
        max_value=most,
        value=min(SHOWN_TOP_K, most),
        key="classify_top_k",
        persist_state="session",
        width=320,
    )


def _show_answers(service: Service, session: ClassifySession, card: ModelCard) -> LightboxClientError | None:
    """Show every image's answer; return the error where the service went away meanwhile."""
    _show_skipped(service, session)
    if not session.selection.images:
        if session.request_id:
            return show_earlier_answer(service, session.request_id)
        show_empty()
        return None
    outage = None
    results = st.container()
    with results:
        was_away = _classify_missing(service, session, card)
    if was_away:
        forget_models()
        outage = _read_cards(service, session)
    has_answer = any(isinstance(outcome, Classification) for outcome in session.outcomes.values())
    top_k = _choose_top_k(card) if has_answer else SHOWN_TOP_K
    with results:
        _show_results(session, card, top_k, service.settings.shown_url)
    return outage


def _show_skipped(service: Service, session: ClassifySession) -> None:
    if session.selection.skipped:
        settings = service.settings
        sentence = wording.skipped(
            session.selection.skipped,
            max_files=settings.dashboard_max_files,
            max_total_mb=settings.dashboard_max_total_bytes // BYTES_PER_MB,
        )
        st.warning(f"{literal(sentence)} For more, use `lightbox classify FOLDER`.", icon=":material/filter_list:")


def _classify_missing(service: Service, session: ClassifySession, card: ModelCard) -> bool:
    """Classify the images that this model has not classified yet; keep each answer and each error.

    Returns whether the service was away for any of them.
    """
    missing = [image for image in session.selection.images if (image.digest, card.version) not in session.outcomes]
    if not missing:
        return False
    progress = st.progress(0.0, text="Classifying…")
    asked = service.classify_each(missing, model=card.name, top_k=min(ASKED_TOP_K, card.labels_count))
    for done, (image, outcome) in enumerate(asked, start=1):
        session.outcomes[image.digest, card.version] = outcome
        progress.progress(done / len(missing), text=f"Classified {done} of {len(missing)}")
    progress.empty()
    outcomes = [session.outcomes[image.digest, card.version] for image in missing]
    return any(isinstance(outcome, ServiceUnreachableError | NotReadyError) for outcome in outcomes)


def _show_results(session: ClassifySession, card: ModelCard, top_k: int, url: str) -> None:
    images = session.selection.images
    outcomes = {image.digest: session.outcomes[image.digest, card.version] for image in images}
    session.request_id = ""
    first = next((digest for digest, outcome in outcomes.items() if isinstance(outcome, Classification)), None)
    for image in images:
        outcome = outcomes[image.digest]
        if session.is_away and wording.is_passing(outcome):
            _say_waits(image.name)
        elif isinstance(outcome, LightboxClientError):
            show_refusal(image, outcome)
        elif len(images) == 1:
            session.request_id = outcome.request_id
            show_answer(image, outcome, card, top_k=top_k, url=url)
        else:
            folded = st.expander(
                f"**{literal(image.name)}** · {literal(wording.summary(outcome))}",
                expanded=image.digest == first,
                key=f"classify_result_{image.digest}",
                on_change="rerun",
            )
            if folded.open:
                with folded:
                    show_answer(image, outcome, card, top_k=top_k, url=url)
    if not session.is_away and any(wording.is_passing(outcome) for outcome in outcomes.values()):
        again = session.forget_passing_failures
        st.button("Ask again", key="classify_again", icon=":material/refresh:", on_click=again)


def _show_waiting(session: ClassifySession) -> None:
    for image in session.selection.images:
        _say_waits(image.name)


def _say_waits(name: str) -> None:
    st.info(
        "It is classified as soon as the service answers.", title=f"{literal(name)} waits", icon=":material/schedule:"
    )


if __name__ == "__main__":
    render()
