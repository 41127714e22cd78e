import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.photographs import write_photographs


@dataclass(frozen=True)
class Programs:
    """Where Prometheus's programs are."""

    prometheus: str
    promtool: str


@pytest.fixture(scope="session")
def programs() -> Programs:
    prometheus, promtool = shutil.which("prometheus"), shutil.which("promtool")
    if prometheus is None or promtool is None:
        pytest.skip("no Prometheus; `apt-get install prometheus` brings it")
    return Programs(prometheus, promtool)


@pytest.fixture(scope="session")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """256 different photographs of about 50 kB."""
    return write_photographs(tmp_path_factory.mktemp("photographs"))
