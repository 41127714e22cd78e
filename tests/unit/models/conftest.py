from pathlib import Path

import pytest

from tests.unit.models.stored import Folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "own", tmp_path / "further")
