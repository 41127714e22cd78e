"""The bundled models from their packages to the store, where nothing of PyTorch needs to be installed."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bento_service.domain.model_names import BUNDLED_NAMES
from bento_service.errors import ModelLoadError
from bento_service.models.store import BentoModelStore
from bento_service.preparation.sources.bundled import build_bundled, weights_package

VERSIONS = {
    "efficientnet_lite0": "d5ab71aca397",
    "efficientnet_lite1": "ea5ac13bec34",
    "efficientnet_lite2": "22f95218b496",
}


@pytest.mark.usefixtures("bentoml_home")
def test_a_bundled_model_has_the_same_version_on_every_machine_and_a_parity_that_passes() -> None:
    for name in BUNDLED_NAMES:
        stored = BentoModelStore().load(name)

        assert stored.card.version == VERSIONS[name]
        assert set(stored.parities) == {"openvino", "onnxruntime"}
        assert all(parity.crops == 200 and parity.passes_gate for parity in stored.parities.values())


def test_bundled_models_are_prepared_without_pytorch_and_what_serves(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from bento_service.models.store import BentoModelStore
from bento_service.preparation.prepare import prepare_missing
store = BentoModelStore(Path({str(tmp_path)!r}))
prepare_missing({BUNDLED_NAMES!r}, store, lambda model, step: None)
assert not store.missing({BUNDLED_NAMES!r})
imported = {{"torch", "timm", "torchvision", "openvino", "onnxruntime", "sqlalchemy", "fastapi"}} & set(sys.modules)
assert not imported, imported
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_serving_process_reads_models_without_torch(bentoml_home: Path) -> None:
    script = """
import sys
from bento_service.models.gate import read_card
from bento_service.models.store import BentoModelStore
imported = {"torch", "timm", "torchvision", "bentoml"} & set(sys.modules)
assert not imported, imported
BentoModelStore().load("efficientnet_lite0")
imported = {"torch", "timm", "torchvision"} & set(sys.modules)
assert not imported, imported
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_damaged_weights_are_refused_with_the_line_that_replaces_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / weights_package("efficientnet_lite0")
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    # So that the module of this test is forgotten after it, and the real one imported again.
    monkeypatch.setitem(sys.modules, folder.name, ModuleType(folder.name))
    del sys.modules[folder.name]
    damages = {None: "No such file", b"half a file": "is damaged: its SHA-256 is"}

    for content, message in damages.items():
        if content is not None:
            (folder / "models" / "efficientnet-lite0-57934424.pth").write_bytes(content)
        with pytest.raises(ModelLoadError, match=rf"{message}.* --force-reinstall --no-deps {folder.name}`"):
            build_bundled("efficientnet_lite0")
