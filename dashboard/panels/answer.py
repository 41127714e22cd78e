"""One image's answer: what the model saw, what it says, what it cost, and how to ask the same from a program."""

import streamlit as st

from dashboard import preview, snippets, wording
from dashboard.charts import answer as charts
from dashboard.reads import open_service, read_preview
from dashboard.reasons import answer_path
from dashboard.uploads import Picked
from lightbox_client import LightboxClientError
from lightbox_client.contract import Classification, ModelCard, Preview

INK_LIGHT, INK_DARK = "#1F2933", "#E6EAEE"
"""The theme's text colours (.streamlit/config.toml), for text inside of charts, which no theme reaches."""


def show_answer(image: Picked, answer: Classification, card: ModelCard, *, top_k: int, url: str) -> None:
    """Show the first `top_k` predictions of an answer; `url` is where a reader's program finds the service."""
    shown = answer.model_copy(update={"predictions": answer.predictions[:top_k]})
    picture, findings = st.columns([2, 3], gap="large")
    with picture:
        _show_picture(image, answer, card)
    with findings:
        _show_findings(shown)
    _show_for_programs(image, shown, top_k=top_k, url=url)


def _show_picture(image: Picked, answer: Classification, card: ModelCard) -> None:
    about = f"{answer.image.format}, {answer.image.width} × {answer.image.height} px"
    try:
        views = _draw_views(
            image.digest,
            read_preview(open_service(), image),
            card.input_size.width,
            card.input_size.height,
            card.crop_fraction or preview.DEFAULT_CROP_FRACTION,
        )
    except LightboxClientError:
        st.info(f"{image.name} ({about}) has no preview here.", icon=":material/image:")
        return
    st.image(
        views.overview,
        caption=f"{image.name} · {about} · the model looks inside the frame",
        width="content",
        alt=f"{image.name}, with the part that the model saw framed",
    )
    if views.model_input is None:
        return
    size = f"{card.input_size.width} × {card.input_size.height} px"
    st.image(
        views.model_input,
        caption=f"What the model saw: {size}",
        width="content",
        alt=f"The part of {image.name} that the model saw",
    )


def _show_findings(answer: Classification) -> None:
    st.subheader(wording.headline(answer.predictions), anchor=False)
    st.markdown(wording.subline(answer.predictions))
    for code in answer.warnings:
        st.caption(f":material/info: {wording.warning(code)}")
    best = answer.predictions[0]
    st.altair_chart(
        charts.scores(answer.predictions, ink=_ink()),
        width="stretch",
        alt=f"Scores of the {len(answer.predictions)} best classes; {best.label} leads with {best.score:.4f}",
    )
    _show_cost(answer)


def _show_cost(answer: Classification) -> None:
    """Show what the request took, stage by stage; of a cached answer there are no stages to show."""
    timings = answer.timings_ms
    st.markdown(f"**{wording.milliseconds(timings.total)}** in the service · {answer_path(answer)}")
    if answer.cached:
        st.caption(
            ":material/bolt: These very bytes were classified for another request, just now or earlier, so they were "
            "neither decoded nor run through the model again: there are no stages to show."
        )
        return
    st.altair_chart(
        charts.stages(timings),
        width="stretch",
        alt=f"Stages of the request: receive {timings.receive:.1f} ms, decode {timings.decode:.1f} ms, "
        f"queue {timings.queue:.1f} ms, inference {timings.inference:.1f} ms of {timings.total:.1f} ms",
    )


def _show_for_programs(image: Picked, answer: Classification, *, top_k: int, url: str) -> None:
    call = snippets.Call(url=url, file_name=image.name, model=answer.model.name, top_k=top_k)
    with st.expander("Ask the same from a program", icon=":material/terminal:"):
        shell, python, json = st.tabs(["curl", "Python", "JSON answer"])
        shell.code(snippets.as_curl(call), language="bash")
        python.code(snippets.as_python(call), language="python")
        json.json(answer.model_dump(mode="json"))


def _ink() -> str:
    return INK_DARK if st.context.theme.type == "dark" else INK_LIGHT


@st.cache_data(max_entries=64, show_spinner=False)
def _draw_views(digest: str, _shown: Preview, width_px: int, height_px: int, crop_fraction: float) -> preview.Views:
    """Draw an image's views once; `digest` stands for its preview in the cache's key."""
    original_px = _shown.image.width, _shown.image.height
    return preview.draw_views(
        _shown.png, original_px=original_px, width_px=width_px, height_px=height_px, crop_fraction=crop_fraction
    )
