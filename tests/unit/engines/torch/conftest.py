from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.engines.torch.small_programs import SIDE_PX, write_small_program


@pytest.fixture(scope="package")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_program(tmp_path_factory.mktemp("program") / "model.pt2")


@pytest.fixture(scope="package")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (8, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
