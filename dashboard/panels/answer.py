"""One image's answer: predictions, timings, the model's input, and the same call as code."""

from collections.abc import Iterable

import streamlit as st

from dashboard import snippets, wording
from dashboard.markdown import literal
from dashboard.panels.picture import show_picture
from dashboard.panels.receipt import show_cost, show_receipt, show_scores
from dashboard.reads import find_receipts
from dashboard.service import Service
from dashboard.uploads import Picked
from lightbox_client import LightboxClientError
from lightbox_client.contract import Classification, ModelCard
from lightbox_client.errors import InvalidRequestError

_MINOR_WARNINGS = {"icc_profile_ignored"}
"""Warnings of most photographs: shown below the picture, not beside the answer."""


def show_answer(image: Picked, answer: Classification, card: ModelCard, *, top_k: int, url: str) -> None:
    """Show the first `top_k` predictions of an answer; `url` is the service's address in the code."""
    shown = answer.model_copy(update={"predictions": answer.predictions[:top_k]})
    findings, picture = st.columns([7, 5], gap="medium")
    with findings:
        _show_findings(shown)
        _show_for_programs(image, shown, top_k=top_k, url=url)
    with picture:
        show_picture(image, answer, card, shown.predictions)
        _show_warnings(code for code in answer.warnings if code in _MINOR_WARNINGS)


def show_empty() -> None:
    """Explain the page while there is no image on it."""
    st.info(
        "You see what the model takes it for, how sure it is, which part of it the model saw, and how long each stage "
        "took.",
        title="Upload a photograph, or tap a sample",
        icon=":material/add_photo_alternate:",
    )


def show_refusal(image: Picked, error: LightboxClientError) -> None:
    """Explain why an image has no answer, with details for an operator."""
    st.error(literal(wording.problem(error)), title=literal(image.name), icon=":material/broken_image:")
    with st.expander("Details"):
        st.code(wording.problem_details(error, image.encoded), language=None, wrap_lines=True)


def show_earlier_answer(service: Service, request_id: str) -> LightboxClientError | None:
    """Show the receipt of an earlier request, which holds no image; return the error where it cannot be read."""
    try:
        found = find_receipts(service, request_id).receipts
    except InvalidRequestError as error:
        st.warning(literal(wording.problem(error)), icon=":material/link_off:")
        return None
    except LightboxClientError as error:
        return error
    if not found:
        st.warning(
            "Receipts are kept for some days only, and a new one takes a second to be stored.",
            title=f"There is no request {literal(request_id)}",
            icon=":material/search_off:",
        )
        return None
    st.info("Images are not stored. To see this one, upload it again.", icon=":material/image_not_supported:")
    receipt = found[0]
    st.header(literal(wording.receipt_headline(receipt)), anchor=False)
    show_receipt(receipt)
    return None


def _show_findings(answer: Classification) -> None:
    st.header(literal(wording.headline(answer.predictions, answer.score_kind)), anchor=False)
    subline = wording.subline(answer.predictions, answer.score_kind)
    if subline:
        st.markdown(literal(subline))
    _show_warnings(code for code in answer.warnings if code not in _MINOR_WARNINGS)
    show_scores(answer.predictions, answer.score_kind)
    show_cost(answer)


def _show_warnings(codes: Iterable[str]) -> None:
    for code in codes:
        st.caption(f":material/info: {literal(wording.warning(code))}")


def _show_for_programs(image: Picked, answer: Classification, *, top_k: int, url: str) -> None:
    call = snippets.Call(url=url, file_name=image.name, model=answer.model.name, top_k=top_k)
    with st.expander("Use the API", icon=":material/terminal:"):
        shell, python, json = st.tabs(["curl", "Python", "JSON answer"])
        shell.code(snippets.as_curl(call), language="bash")
        python.code(snippets.as_python(call), language="python")
        json.json(answer.model_dump(mode="json"))
