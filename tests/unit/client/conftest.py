import io
from collections.abc import Iterator

import pytest
from PIL import Image

from lightbox_client import Client
from tests.fakes.service import FakeService


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as running:
        yield running


@pytest.fixture
def waits_s() -> list[float]:
    """How long the client slept between tries; no time passes."""
    return []


@pytest.fixture
def client(service: FakeService, waits_s: list[float]) -> Iterator[Client]:
    with Client(service.url, read_timeout_s=10, sleep=waits_s.append) as ready:
        yield ready


@pytest.fixture
def photograph() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (60, 40), (120, 80, 30)).save(stream, "PNG")
    return stream.getvalue()
