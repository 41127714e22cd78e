import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.fakes.service import FakeService


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as running:
        yield running


def encode_photograph() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (60, 40), (120, 80, 30)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder with `a.png`, `b.jpg` (not an image), `c.png`, `notes.txt`, `.hidden.png` and `deeper/d.PNG`."""
    folder = tmp_path / "photographs"
    (folder / "deeper").mkdir(parents=True)
    for name in ("a.png", "c.png", ".hidden.png", "deeper/d.PNG"):
        (folder / name).write_bytes(encode_photograph())
    (folder / "b.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("nothing to see")
    return folder


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def free_port(free_ports: tuple[int, int]) -> int:
    return free_ports[0]
