"""The receipt of one request: predictions, timings, and the reason for its batch."""

from collections.abc import Sequence

import streamlit as st

from dashboard import wording
from dashboard.charts import answer as charts
from dashboard.charts.theme import INKS
from dashboard.markdown import literal
from dashboard.reasons import answer_path
from dashboard.session import color_scheme
from lightbox_client.contract import Classification, HistoryRequest, Prediction


def show_receipt(receipt: HistoryRequest) -> None:
    """Show a receipt as the journal keeps it: up to five predictions, the stages, and no image."""
    findings, facts = st.columns([7, 5], gap="medium")
    with findings:
        if receipt.predictions:
            show_scores(receipt.predictions, receipt.score_kind)
        show_cost(receipt)
    with facts:
        _show_facts(receipt)


def show_scores(predictions: Sequence[Prediction], score_kind: str) -> None:
    """Draw one bar a class, best first."""
    best = predictions[0]
    st.altair_chart(
        charts.scores(predictions, ink=INKS[color_scheme()], is_shared=score_kind == wording.SOFTMAX),
        width="stretch",
        alt=f"Scores of the {len(predictions)} best classes; {best.label} leads with {wording.percent(best.score)}",
    )


def show_cost(answer: Classification | HistoryRequest) -> None:
    """Show the duration of a request by stage; a cached answer has no stages."""
    timings = answer.timings_ms
    # A request that was refused ran in no batch.
    path = answer_path(answer) if answer.cached or answer.batch_size else ""
    st.markdown(f"**{wording.milliseconds(timings.total)}** in the service" + (f" · {path}" if path else ""))
    if answer.cached:
        return
    st.altair_chart(
        charts.stages(timings),
        width="stretch",
        alt=f"Stages of the request: receive {timings.receive:.1f} ms, decode {timings.decode:.1f} ms, "
        f"queue {timings.queue:.1f} ms, inference {timings.inference:.1f} ms of {timings.total:.1f} ms",
    )


def _show_facts(receipt: HistoryRequest) -> None:
    received = receipt.received_at.astimezone(wording.zone(st.context.timezone))
    facts = [
        ("Request", literal(receipt.request_id)),
        ("Received", f"{received:%-d %B %Y, %H:%M:%S}"),
        ("Outcome", literal(wording.outcome(receipt.outcome))),
        ("Model", literal(f"{receipt.model} {receipt.model_version}") or "–"),
    ]
    if receipt.image is not None:
        facts.append(("Image", f"{literal(receipt.image.format)}, {receipt.image.width} × {receipt.image.height} px"))
    if receipt.digest:
        facts.append(("SHA-256", f"{receipt.digest[:16]}…"))
    facts += [("Note", literal(wording.warning(code))) for code in receipt.warnings]
    st.markdown("  \n".join(f"**{name}**: {value}" for name, value in facts))
