"""The bentofile of an image with models of one's own."""

from pathlib import Path

import pytest
import yaml

from bento_service.errors import ModelLoadError
from bento_service.models.store import BentoModelStore
from deploy.bento import describe_bento
from tests.unit.models.stored import save


def test_a_bento_holds_and_serves_the_models_that_are_named(tmp_path: Path) -> None:
    version = save(tmp_path / "volume", "pets", "3f2a1b", program=None).card.version
    home = BentoModelStore(tmp_path / "home", also=tmp_path / "volume")

    newest, pinned = (yaml.safe_load(describe_bento([name], home)) for name in ("pets", "pets:3f2"))

    assert newest["models"] == pinned["models"] == [f"lightbox-pets:{version}"]
    assert newest["envs"][-1] == {"name": "LIGHTBOX_MODELS", "value": "pets"}
    assert pinned["envs"][-1] == {"name": "LIGHTBOX_MODELS", "value": f"pets:{version}"}
    # `bentoml build` reads no other store than this one.
    assert BentoModelStore(tmp_path / "home").load("pets").card.version == version


def test_a_model_that_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="'pets' is not in the model store"):
        describe_bento(["pets"], BentoModelStore(tmp_path))
