"""Fixtures of tests that are skipped where PyTorch is not installed; so it is imported only when they run."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(scope="package")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.unit.engines.torch.small_programs import write_small_program  # noqa: PLC0415

    return write_small_program(tmp_path_factory.mktemp("program") / "model.pt2")


@pytest.fixture(scope="package")
def images() -> NDArray[np.uint8]:
    from tests.unit.engines.torch.small_programs import SIDE_PX  # noqa: PLC0415

    return np.random.default_rng(7).integers(0, 256, (8, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
