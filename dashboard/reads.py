"""The service as the pages use it: one connection for all visitors, and reads that they share while these are fresh."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import streamlit as st

from dashboard.service import Order, Service
from dashboard.settings import DashboardSettings
from dashboard.uploads import Picked
from lightbox_client.contract import History, HistoryRequest, ModelList, Preview, Status

MODELS_TTL_S = 5.0
TRAFFIC_TTL_S = 1.5
"""Below the shortest refresh: each tick is fresh, yet all visitors together cost one read a tick."""
MAX_CACHED_WINDOWS = 64
MAX_CACHED_PREVIEWS = 32
"""Of up to 1 MB each."""
RECEIPTS_LIMIT = 20


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the service said about a window, and when."""

    read_at: datetime
    status: Status
    history: History
    receipts: tuple[HistoryRequest, ...]


def open_service() -> Service:
    """Return the service that the settings name, the same one for every visitor."""
    return _connect(DashboardSettings().model_dump_json())


def read_models(service: Service) -> ModelList:
    """Return the served models, at most `MODELS_TTL_S` old; raises `LightboxClientError`."""
    return _read_models(service, service.settings.url)


def forget_models() -> None:
    """Let the next `read_models` ask the service."""
    _read_models.clear()


def read_preview(service: Service, image: Picked) -> Preview:
    """Return what the service decodes an image to, kept for the last ones; raises `LightboxClientError`."""
    return _read_preview(service, service.settings.url, image.digest, image)


def read_traffic(service: Service, *, window: timedelta, buckets: int, model: str | None, order: Order) -> Traffic:
    """Return a window's traffic, at most `TRAFFIC_TTL_S` old; raises `LightboxClientError`."""
    return _read_traffic(service, service.settings.url, window, buckets, model, order)


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
    order: Order,
) -> Traffic:
    status = _service.status()
    history = _service.history(window, buckets, model)
    receipts = _service.receipts(window, order, RECEIPTS_LIMIT, model)
    return Traffic(datetime.now(UTC), status, history, tuple(receipts.requests))
