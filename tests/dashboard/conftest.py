import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

import dashboard
from tests.fakes.service import FakeService

APP = Path(dashboard.__file__).parent / "app.py"
EXIF_ORIENTATION = 0x0112
LONGEST_RERUN_S = 30


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as fake:
        yield fake


@pytest.fixture
def app(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The dashboard on its Classify page, talking to the fake service; not yet run."""
    monkeypatch.setenv("LIGHTBOX_URL", service.url)
    st.cache_data.clear()
    st.cache_resource.clear()
    yield AppTest.from_file(str(APP), default_timeout=LONGEST_RERUN_S)
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def performance(app: AppTest) -> AppTest:
    """The dashboard on its Performance page, run once."""
    app.run()
    return app.switch_page("views/performance.py").run()


@pytest.fixture
def photograph() -> bytes:
    """A small JPEG."""
    return encode(Image.new("RGB", (64, 48), "#806040"))


@pytest.fixture
def turned_photograph() -> bytes:
    """A small JPEG whose EXIF asks for a quarter turn."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    target = io.BytesIO()
    Image.new("RGB", (64, 48), "#806040").save(target, format="JPEG", exif=exif)
    return target.getvalue()


def encode(image: Image.Image, encoding: str = "JPEG") -> bytes:
    target = io.BytesIO()
    image.save(target, format=encoding)
    return target.getvalue()
