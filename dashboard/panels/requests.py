"""The table of single requests: filtered, searched, page by page; a tapped row opens its receipt."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import streamlit as st

from dashboard import wording
from dashboard.charts import history
from dashboard.markdown import literal
from dashboard.panels.receipt import show_receipt
from dashboard.reads import ReceiptsPage, find_receipts, read_receipts
from dashboard.reasons import reason
from dashboard.service import Order, ReceiptsQuery, Service
from dashboard.session import RequestsTable
from lightbox_client import LightboxClientError
from lightbox_client.contract import HistoryRequest

ORDERS: Mapping[str, Order] = MappingProxyType({"Slowest": "slowest", "Newest": "newest"})
OPEN = "perf_request"
"""The parameter of the page's address that names the request whose receipt is open."""
OUTCOME = "perf_outcome"
TABLE_PX = 318  # eight rows, so that the headline of a receipt that opens below is on the screen
COLUMNS = ("time", "result", "total", "model", *history.HISTORY_STAGES, "batch", "ran", "request")
_COMPUTED_STAGES = ("decode", "inference")
"""Stages that a cached answer skips; its queue stage is the wait for an identical request in flight."""
_LONG = timedelta(days=1)


def show_requests(
    service: Service, table: RequestsTable, *, window: timedelta, model: str | None, outcomes: Sequence[str]
) -> None:
    """Show the requests of a window.

    Args:
        service: Where they are read.
        table: What the visitor's table shows; it is brought up to date.
        window: Its length; it ends now.
        model: The only model to show, or None.
        outcomes: The outcomes that occur in the window.
    """
    st.header("Requests", anchor=False)
    order, outcome, request_id = _choose(outcomes)
    table.begin((window, order, model, outcome, request_id))
    try:
        table.drawn = _read(service, table, ReceiptsQuery(window, order, model, outcome), request_id)
    except LightboxClientError as error:
        st.warning(literal(wording.problem(error)), icon=":material/cloud_off:")
    page = table.drawn
    if page is None:
        return
    if page.receipts:
        _show_pages(table, page)
        _show_table(table, page, is_long=window > _LONG or bool(request_id))
    else:
        whose = f"with the id {literal(request_id)}" if request_id else "like that in this window"
        st.info(f"There is no request {whose}.", icon=":material/search_off:")
    opened = st.query_params.get(OPEN)
    if opened:
        _show_open(service, table, opened)
    elif request_id and len(page.receipts) == 1:
        _show_one(page.receipts[0])


def _choose(outcomes: Sequence[str]) -> tuple[Order, str | None, str]:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        order = st.segmented_control(
            "Order",
            list(ORDERS),
            default="Slowest",
            required=True,
            key="perf_order",
            bind="query-params",
            help="Slowest: answered requests by their total time. Newest: all of them.",
        )
        asked = st.query_params.get(OUTCOME)
        codes = ["ok", *sorted({*outcomes, *([asked] if asked else [])} - {"ok"})]
        # Not bound to the address by Streamlit, which would write the words there rather than the code.
        outcome = st.selectbox(
            "Outcome",
            codes,
            index=codes.index(asked) if asked else None,
            placeholder="All outcomes",
            format_func=wording.outcome,
            key=OUTCOME,
            on_change=_write_outcome,
            width=180,
        )
        request_id = st.text_input(
            "Find by id", placeholder="A request's id", key="perf_search", bind="query-params", width=300
        )
    return ORDERS[order or "Slowest"], outcome, (request_id or "").strip()


def _write_outcome() -> None:
    code = st.session_state[OUTCOME]
    if code:
        st.query_params[OUTCOME] = code
    else:
        st.query_params.pop(OUTCOME, None)


def _read(service: Service, table: RequestsTable, query: ReceiptsQuery, request_id: str) -> ReceiptsPage:
    if table.drawn is not None and table.is_row_open:
        return table.drawn
    if request_id:
        return find_receipts(service, request_id)
    if table.page and table.drawn is not None:
        query = replace(query, until=table.drawn.until)
    return read_receipts(service, query, table.page)


def _show_table(table: RequestsTable, page: ReceiptsPage, *, is_long: bool) -> None:
    milliseconds = {
        stage: st.column_config.NumberColumn(f"{stage}, ms", format="%.1f") for stage in history.HISTORY_STAGES
    }
    key = f"perf_table_{table.tables_made}"
    st.dataframe(
        [_row(receipt) for receipt in page.receipts],
        height=TABLE_PX if len(page.receipts) > 8 else "auto",
        hide_index=True,
        placeholder="–",
        column_order=COLUMNS,
        column_config={
            "time": st.column_config.DatetimeColumn(
                format="D MMM HH:mm:ss" if is_long else "HH:mm:ss",
                timezone=st.context.timezone,
                width=125 if is_long else 80,
            ),
            "result": st.column_config.TextColumn(
                width=160, help="The best class and its score, or what became of the request."
            ),
            "total": st.column_config.NumberColumn("total, ms", format="%.1f", width=85),
            **milliseconds,
            "batch": st.column_config.NumberColumn(help="Images in the batch that it ran in."),
            "ran": st.column_config.TextColumn(help="Why the request's batch went when it did."),
        },
        alt="Single requests with their times, stage by stage; select a cell to open the request",
        key=key,
        on_select=lambda: _open_selected(table, page, key),
        selection_mode="single-cell",
    )


def _open_selected(table: RequestsTable, page: ReceiptsPage, key: str) -> None:
    cells = st.session_state[key]["selection"]["cells"]
    if cells:
        table.is_row_open = True
        st.query_params[OPEN] = page.receipts[cells[0][0]].request_id
    else:
        _close(table)


def _close(table: RequestsTable) -> None:
    table.close_row()
    st.query_params.pop(OPEN, None)


def _show_pages(table: RequestsTable, page: ReceiptsPage) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if table.page or page.has_next:
            st.button("Previous", key="perf_previous", disabled=not table.page, on_click=table.turn_page, args=(-1,))
            st.button("Next", key="perf_next", disabled=not page.has_next, on_click=table.turn_page, args=(1,))
        until = page.until.astimezone(wording.zone(st.context.timezone))
        is_still = table.is_row_open or table.page > 0
        count = "1 request" if len(page.receipts) == 1 else f"{len(page.receipts)} requests"
        st.caption(
            f"Page {table.page + 1}, {count}, {'held' if is_still else 'read'} at {until:%H:%M:%S}. "
            "Tap a row to open it."
        )


def _show_open(service: Service, table: RequestsTable, request_id: str) -> None:
    """Show the receipt of the row that is open, or of the request that the address names."""
    try:
        found = find_receipts(service, request_id).receipts
    except LightboxClientError as error:
        st.warning(literal(wording.problem(error)), icon=":material/cloud_off:")
        return
    if found:
        _show_one(found[0])
    else:
        st.info(f"There is no request with the id {literal(request_id)}.", icon=":material/search_off:")
    st.button("Close", key="perf_close", icon=":material/close:", on_click=_close, args=(table,))


def _show_one(receipt: HistoryRequest) -> None:
    with st.container(border=True):
        st.subheader(literal(wording.receipt_headline(receipt)), anchor=False)
        show_receipt(receipt)


def _row(receipt: HistoryRequest) -> dict[str, object]:
    best = receipt.predictions[0] if receipt.predictions else None
    return {
        "time": receipt.received_at,
        "result": f"{best.label} ({wording.percent(best.score)})" if best else wording.outcome(receipt.outcome),
        "total": receipt.timings_ms.total,
        "model": receipt.model,
        **{stage: _stage_ms(receipt, stage) for stage in history.HISTORY_STAGES},
        "batch": receipt.batch_size or None,
        "ran": reason(receipt.dispatch).name or None,
        "request": receipt.request_id,
    }


def _stage_ms(receipt: HistoryRequest, stage: str) -> float | None:
    if receipt.cached and stage in _COMPUTED_STAGES:
        return None
    duration_ms: float = getattr(receipt.timings_ms, stage)
    return duration_ms
