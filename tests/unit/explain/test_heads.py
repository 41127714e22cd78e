from pathlib import Path

import pytest

from bento_service.explain.heads import ClassHeads
from bento_service.models.store import BentoModelStore
from tests.unit.models.stored import describe, save

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_served_model_whose_file_is_damaged_or_gone_has_no_head(tmp_path: Path, *, is_stored: bool) -> None:
    if is_stored:
        save(tmp_path, "pets", "v1")
    assert await ClassHeads(BentoModelStore(tmp_path)).find(describe("pets", "v1")) is None
