import shutil
from dataclasses import dataclass

import pytest


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
