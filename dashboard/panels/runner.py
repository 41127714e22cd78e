"""The scheduler of the worker that answers: the cost model, the last batches and their reasons, the cache."""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from dashboard import wording
from dashboard.charts import history, runner
from dashboard.panels.cache import show_cache
from dashboard.reads import Traffic
from dashboard.reasons import reason
from lightbox_client.contract import Dispatch, ModelCost, Status

_REPORTED_IN = {"cost", "recent_dispatches", "cache"}
_MODES = (
    "How a batch uses the hardware: `latency` gives all threads to one image, `throughput` runs several batches "
    "side by side."
)


def show_runner(traffic: Traffic, *, is_fresh: bool) -> None:
    """Offer the section, collapsed, for the model that the page shows."""
    section = st.expander(
        "Scheduler", icon=":material/manufacturing:", key="perf_runner", on_change="rerun", bind="query-params"
    )
    if not section.open:
        return
    with section:
        status, model = traffic.status, traffic.history.model
        if not _REPORTED_IN & status.model_fields_set:
            st.caption("This service is older than the dashboard and reports nothing about its scheduler.")
            return
        if status.state == "loading":
            st.caption("The worker is still loading its models; it has run no batch yet.")
            return
        if status.workers > 1:
            st.caption(
                f":material/info: Figures of one of {status.workers} workers, the one that answered. "
                "Each measures for itself, so they may change from one refresh to the next."
            )
        _show_cost(status, model, is_fresh=is_fresh)
        _show_dispatches([one for one in status.recent_dispatches if model in {None, one.model}], model)
        show_cache(status.cache, is_fresh=is_fresh)


def _show_cost(status: Status, model: str | None, *, is_fresh: bool) -> None:
    costs = [cost for cost in status.cost if cost.batches and model in {None, cost.model}]
    if not costs:
        st.caption(f"Nothing was measured of {model} yet." if model else "Nothing was measured yet.")
        return
    chart, table = st.columns(2, gap="medium")
    with chart:
        st.subheader(
            "What a batch costs",
            anchor=False,
            help="Warm-up measures each batch size, and every batch since updates the figure. By it the scheduler "
            "chooses batch sizes, and rejects requests that would miss the target.",
        )
        _show_cost_chart(costs, is_fresh=is_fresh)
    with table:
        st.subheader("Max batch and speed", anchor=False, help="As the scheduler has them now.")
        _show_cost_table(costs)


def _show_cost_chart(costs: Sequence[ModelCost], *, is_fresh: bool) -> None:
    shade = history.unchanged if is_fresh else history.dim
    shown = costs[: runner.MAX_LINES]
    st.altair_chart(
        shade(runner.batch_costs(shown)), alt="Milliseconds a batch by batch size, at warm-up and now", key="perf_cost"
    )
    if runner.has_sizes_above_ceiling(shown):
        st.caption("Hollow: larger than the max batch, so such batches do not run now.")
    if len(shown) < len(costs):
        st.caption(f"{len(shown)} of {len(costs)} lines; choose a model above to see its own.")


def _show_cost_table(costs: Sequence[ModelCost]) -> None:
    st.dataframe(
        [
            {
                "model": cost.model,
                "mode": cost.mode,
                "max batch": cost.ceiling,
                "speed": 100 * cost.speed,
                "batches": sum(batch.samples for batch in cost.batches),
            }
            for cost in costs
        ],
        hide_index=True,
        column_config={
            "mode": st.column_config.TextColumn(help=_MODES),
            "max batch": st.column_config.NumberColumn(
                help="The largest batch, in images: larger ones lose throughput, miss the target or lack memory. Where "
                "batches gain nothing, larger ones than 1 run only while many images wait."
            ),
            "speed": st.column_config.NumberColumn(
                "speed vs warm-up",
                format="%.0f%%",
                help="At 50% a batch takes twice as long as at warm-up, for instance because other work shares the "
                "hardware.",
            ),
            "batches": st.column_config.NumberColumn(
                "batches observed", format="%,d", help="Batches since warm-up, which the cost model has learnt from."
            ),
        },
        alt="Max batch and speed of each model and mode",
        key="perf_cost_table",
    )


def _show_dispatches(dispatches: Sequence[Dispatch], model: str | None) -> None:
    st.subheader("Last batches", anchor=False, help="The newest first, with the reason why each ran when it did.")
    if not dispatches:
        whose = f" of {model}" if model else ""
        st.caption(f"No batch{whose} has run lately. Images answered from the cache need none.")
        return
    counts = Counter(one.reason for one in dispatches)
    with st.container(horizontal=True, gap="small"):
        for code, count in counts.most_common():
            st.badge(f"{reason(code).name}: {count}", color="gray", help=reason(code).explanation or None)
    st.dataframe(
        [_row(one) for one in dispatches],
        hide_index=True,
        column_config={
            "why": st.column_config.TextColumn(help=_explain(counts)),
            "images": st.column_config.NumberColumn(help="How many the batch held."),
            "left waiting": st.column_config.NumberColumn(help="Images left in the queue when it ran."),
            "predicted": st.column_config.NumberColumn(
                "predicted, ms", format="%.1f", help="What the cost model predicted."
            ),
            "took": st.column_config.NumberColumn("took, ms", format="%.1f", help="What it took."),
            "mode": st.column_config.TextColumn(help=_MODES),
        },
        alt="The last batches with their reasons, predicted and actual durations",
        key="perf_dispatches",
    )


def _row(one: Dispatch) -> dict[str, object]:
    return {
        "ago": wording.ago(one.ago_ms),
        "why": reason(one.reason).name,
        "images": one.batch_size,
        "left waiting": one.waiting,
        "predicted": one.predicted_ms,
        "took": one.inference_ms,
        "model": one.model,
        "mode": one.mode,
    }


def _explain(codes: Counter[str]) -> str:
    """List the reasons that occur, each with what it means."""
    known = [reason(code) for code in codes]
    return "\n".join(f"- **{one.name}**: {one.explanation}" for one in known if one.explanation)
