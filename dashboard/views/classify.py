"""The Classify page: images in, answers out. Wiring only."""

import streamlit as st

from dashboard import wording
from dashboard.panels.answer import show_answer
from dashboard.panels.intake import show_intake
from dashboard.panels.outage import rerun_once_back, show_banner
from dashboard.reads import forget_models, open_service, read_models
from dashboard.service import Service
from dashboard.session import ClassifySession, classify_session
from lightbox_client import LightboxClientError
from lightbox_client.contract import ModelCard
from lightbox_client.errors import NotReadyError, ServiceUnreachableError

ASKED_TOP_K = 20  # asked for once, so that showing more or fewer classes costs the service nothing
SHOWN_TOP_K = 5


def render() -> None:
    """Draw the page."""
    service, session = open_service(), classify_session()
    st.title("What is in the picture?", anchor=False)
    show_intake(service.settings)
    if session.selection.note:
        st.caption(f":material/info: {session.selection.note}")
    notice = st.container()
    outage = _read_cards(service, session)
    if session.cards:
        outage = _show_answers(service, session) or outage
    if outage is not None:
        with notice:
            show_banner(outage, service, key="classify_retry")
            rerun_once_back(service.models)


def _read_cards(service: Service, session: ClassifySession) -> LightboxClientError | None:
    """Refresh the models; while the service is away keep the last ones, and on its return ask again for what failed."""
    try:
        session.cards = tuple(read_models(service).models)
    except LightboxClientError as error:
        session.is_away = True
        return error
    if session.is_away:
        session.is_away = False
        session.forget_passing_failures()
    return None


def _show_answers(service: Service, session: ClassifySession) -> LightboxClientError | None:
    """Show every image's answer; where an image finds the service away, return what is wrong."""
    card, top_k = _choose(session.cards)
    if not session.selection.images:
        st.caption("Drop in a photograph, or take a sample, to see what the model makes of it.")
        return None
    outage = None
    if _classify_missing(service, session, card):
        forget_models()
        outage = _read_cards(service, session)
    _show_results(session, card, top_k, service.settings.shown_url)
    return outage


def _choose(cards: tuple[ModelCard, ...]) -> tuple[ModelCard, int]:
    by_name = {card.name: card for card in cards}
    default = next((position for position, card in enumerate(cards) if card.is_default), 0)
    model, classes = st.columns([3, 2], gap="large")
    with model:
        name = st.selectbox("Model", list(by_name), index=default, key="classify_model", bind="query-params")
        card = by_name[name]
        st.caption(wording.model_line(card))
    with classes:
        most = min(ASKED_TOP_K, card.labels_count)
        top_k = st.slider(
            "Classes shown",
            min_value=1,
            max_value=most,
            value=min(SHOWN_TOP_K, most),
            key="classify_top_k",
            persist_state="session",
        )
    return card, top_k


def _classify_missing(service: Service, session: ClassifySession, card: ModelCard) -> bool:
    """Ask for the images that this model has not seen yet, and keep each answer and each refusal.

    Returns whether the service seemed to be away for any of them.
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
    for position, image in enumerate(images):
        outcome = outcomes[image.digest]
        if session.is_away and wording.is_passing(outcome):
            st.caption(f":material/schedule: {image.name} is classified as soon as the service is back.")
        elif isinstance(outcome, LightboxClientError):
            st.warning(wording.problem(outcome), title=image.name, icon=":material/broken_image:")
        elif len(images) == 1:
            st.divider()
            show_answer(image, outcome, card, top_k=top_k, url=url)
        else:
            best = outcome.predictions[0]
            summary = f"**{image.name}** · {wording.headline(outcome.predictions)}, {wording.percent(best.score)}"
            folded = st.expander(
                summary, expanded=position == 0, key=f"classify_result_{image.digest}", on_change="rerun"
            )
            if folded.open:
                with folded:
                    show_answer(image, outcome, card, top_k=top_k, url=url)
    if not session.is_away and any(wording.is_passing(outcome) for outcome in outcomes.values()):
        again = session.forget_passing_failures
        st.button("Ask again", key="classify_again", icon=":material/refresh:", on_click=again)


if __name__ == "__main__":
    render()
