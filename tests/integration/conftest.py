"""One service process for every test that does not stop or overload it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.running_service import RunningService, running_service


@pytest.fixture(scope="session")
def service(bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    # Small limits, so that the tests of limits need not send 20 MB.
    with running_service(folder, max_image_bytes=2_000_000, max_images=4, max_request_bytes=6_000_000) as running:
        yield running
