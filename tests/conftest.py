"""What every test may use: the bundled models, prepared once and kept between runs, and real photographs."""

import os
import re
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import pytest
import skimage
from hypothesis import settings

from bench.photographs import write_photographs
from bento_service.domain.model_names import BUNDLED_NAMES
from bento_service.models.store import BentoModelStore
from bento_service.preparation.prepare import prepare_missing

_BENTOML_HOME = Path(__file__).parents[1] / ".cache" / "test-bentoml"

# BentoML settles on its home the first time it needs it, which may be as a test module imports it: so before any does.
# None of the imports above load it.
os.environ["BENTOML_HOME"] = str(_BENTOML_HOME)
# Tests report to nobody.
os.environ["BENTOML_DO_NOT_TRACK"] = "True"

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_NEEDS_AN_EXTRA = re.compile("No module named '(torch|torchvision|timm|onnxscript|onnxruntime)")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a module of tests that imports a library of an extra, itself or by a helper, where that is missing."""
    report = yield
    missing = _NEEDS_AN_EXTRA.search(str(report.longrepr)) if report.failed else None
    if missing:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 1, f"Skipped: {missing[1]} is not installed")
    return report


_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "retina.jpg")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of async tests; those on a fake clock override it."""
    return "asyncio"


@pytest.fixture(scope="session")
def bentoml_home() -> Path:
    """A BentoML home with the three bundled models; the smallest has its torch program, if PyTorch is installed."""
    _BENTOML_HOME.mkdir(parents=True, exist_ok=True)
    for names in (BUNDLED_NAMES[:1], BUNDLED_NAMES[1:]):
        prepare_missing(
            names,
            BentoModelStore(),
            lambda model, step: print(f"{model}: {step}"),
            with_program=names == BUNDLED_NAMES[:1] and find_spec("torch") is not None,
        )
    return _BENTOML_HOME


@pytest.fixture(scope="session")
def photographs() -> tuple[Path, ...]:
    """Real photographs that come with scikit-image."""
    folder = Path(skimage.__file__).parent / "data"
    return tuple(folder / name for name in _PHOTOGRAPHS)


@pytest.fixture(scope="session")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """128 different photographs of about 50 kB."""
    return write_photographs(tmp_path_factory.mktemp("photographs"), count=128)
