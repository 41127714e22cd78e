"""Cached reads of the service, shared by all visitors while they are fresh."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import streamlit as st

from dashboard.service import ReceiptsQuery, Service
from dashboard.settings import DashboardSettings
from dashboard.uploads import Picked
from lightbox_client.contract import History, HistoryRequest, ModelList, Status
from lightbox_client.preview import Preview

MODELS_TTL_S = 5.0
TRAFFIC_TTL_S = 1.5
"""Below the shortest refresh interval: each refresh reads again, once for all visitors."""
MAX_CACHED_WINDOWS = 64
ROWS_A_PAGE = 50
MAX_CACHED_PREVIEWS = 32
"""Of up to 1 MB each."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """A window's status and history, and when they were read."""

    read_at: datetime
    status: Status
    history: History


@dataclass(frozen=True, slots=True)
class ReceiptsPage:
    """A page of the receipts of a window that ends at `until`, and whether there is a next one."""

    receipts: tuple[HistoryRequest, ...]
    has_next: bool
    until: datetime


def open_service() -> Service:
    """Return the service that the settings name, the same one for every visitor."""
    return _connect(DashboardSettings().model_dump_json())


def read_models(service: Service) -> ModelList:
    """Return the served models, at most `MODELS_TTL_S` old; raises `LightboxClientError`."""
    return _read_models(service, service.settings.url)


def forget_models() -> None:
    """Make the next `read_models` ask the service."""
    _read_models.clear()


def read_preview(service: Service, image: Picked) -> Preview:
    """Return the service's preview of an image, cached; raises `LightboxClientError`."""
    return _read_preview(service, service.settings.url, image.digest, image)


def read_traffic(service: Service, *, window: timedelta, buckets: int, model: str | None) -> Traffic:
    """Return a window's traffic, at most `TRAFFIC_TTL_S` old; raises `LightboxClientError`."""
    return _read_traffic(service, service.settings.url, window, buckets, model)


def read_receipts(service: Service, query: ReceiptsQuery, page: int) -> ReceiptsPage:
    """Return a page of receipts, at most `TRAFFIC_TTL_S` old; raises `LightboxClientError`."""
    return _read_receipts(service, service.settings.url, query, page)


def find_receipts(service: Service, request_id: str) -> ReceiptsPage:
    """Return the receipts of one id, newest first, at most `TRAFFIC_TTL_S` old; raises `LightboxClientError`."""
    return _find_receipts(service, service.settings.url, request_id)


@st.cache_resource(show_spinner=False, max_entries=4)
def _connect(settings_json: str) -> Service:
    return Service(DashboardSettings.model_validate_json(settings_json))


@st.cache_data(ttl=MODELS_TTL_S, max_entries=4, show_spinner=False)
def _read_models(_service: Service, url: str) -> ModelList:
    return _service.models()


@st.cache_data(max_entries=MAX_CACHED_PREVIEWS, show_spinner=False)
def _read_preview(_service: Service, url: str, digest: str, _image: Picked) -> Preview:
    return _service.preview(_image)


@st.cache_data(ttl=TRAFFIC_TTL_S, max_entries=MAX_CACHED_WINDOWS, show_spinner=False)
def _read_traffic(
    _service: Service,
    url: str,
    window: timedelta,
    buckets: int,
    model: str | None,
) -> Traffic:
    status = _service.status()
    history = _service.history(window, buckets, model)
    return Traffic(datetime.now(UTC), status, history)


@st.cache_data(ttl=TRAFFIC_TTL_S, max_entries=MAX_CACHED_WINDOWS, show_spinner=False)
def _read_receipts(_service: Service, url: str, query: ReceiptsQuery, page: int) -> ReceiptsPage:
    until = query.until or datetime.now(UTC)
    found = _service.receipts(replace(query, until=until), limit=ROWS_A_PAGE + 1, offset=page * ROWS_A_PAGE)
    return ReceiptsPage(found[:ROWS_A_PAGE], has_next=len(found) > ROWS_A_PAGE, until=until)


@st.cache_data(ttl=TRAFFIC_TTL_S, max_entries=MAX_CACHED_WINDOWS, show_spinner=False)
def _find_receipts(_service: Service, url: str, request_id: str) -> ReceiptsPage:
    found = _service.find_receipts(request_id, limit=ROWS_A_PAGE)
    return ReceiptsPage(found, has_next=False, until=datetime.now(UTC))
