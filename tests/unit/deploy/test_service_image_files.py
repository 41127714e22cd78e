"""The service image's inputs agree: Dockerfile template, bentofiles, requirements, settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment

from bento_service import __version__
from bento_service.models.stored_files import bento_name
from bento_service.settings import Settings
from tests.unit.deploy.kustomization import KUBERNETES, render

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "deploy" / "docker" / "service.Dockerfile.j2"
BENTOFILES = ("bentofile.yaml", "bentofile.gpu.yaml")


@pytest.fixture
def last_stage() -> str:
    """The last stage of the Dockerfile that BentoML renders."""
    jinja = Environment(autoescape=False)  # noqa: S701 - no HTML
    jinja.filters["bash_quote"] = lambda value: f"'{value}'"
    dockerfile = jinja.from_string(TEMPLATE.read_text()).render(
        __base_image__="python:3.11-slim", bento__uid_gid=1034, __options__env={"MALLOC_ARENA_MAX": "2"}
    )
    return dockerfile.rpartition("\nFROM ")[2]


def test_version_start_period_and_settings_are_those_of_the_code(last_stage: str) -> None:
    probe = render(KUBERNETES / "overlays" / "gpu").container("lightbox-api")["startupProbe"]
    chosen = {name.lower() for name in re.findall(r"\bLIGHTBOX_(\w+)=", last_stage)}

    assert f"ARG VERSION={__version__}\n" in last_stage
    assert f"--start-period={probe['periodSeconds'] * probe['failureThreshold']}s " in last_stage
    assert chosen
    assert chosen <= Settings.model_fields.keys()
    assert "MALLOC_ARENA_MAX='2'" in last_stage


def read_bentofile(name: str) -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return described


@pytest.mark.parametrize("name", BENTOFILES)
def test_a_bento_includes_models_and_files_of_its_image(name: str) -> None:
    bentofile = read_bentofile(name)
    requirements = Path(bentofile["python"]["requirements_txt"])
    files = {pattern.lstrip("/") for pattern in bentofile["include"]}
    included = re.findall(r"^-r (\S+)", (ROOT / requirements).read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY src/(\S+)", TEMPLATE.read_text(), re.MULTILINE)

    prefixes = ("lightbox-", "lightbox_torch-") if "gpu" in name else ("lightbox-",)
    models = Settings.model_fields["models"].default
    assert bentofile["models"] == [f"{bento_name(model, prefix)}:latest" for prefix in prefixes for model in models]
    assert {str(requirements), *included, "requirements.lock"} <= files
    assert Path(bentofile["docker"]["dockerfile_template"]) == TEMPLATE.relative_to(ROOT)
    assert [source for source in copied if not {source, f"{Path(source).parent}/*"} & files] == []


def test_both_bentos_are_the_same_service_in_the_same_image() -> None:
    cpu, gpu = (read_bentofile(name) for name in BENTOFILES)

    for shared in ("service", "description", "labels", "docker"):
        assert gpu[shared] == cpu[shared]
    assert all(variable in gpu["envs"] for variable in cpu["envs"])
    assert set(gpu["include"]) > set(cpu["include"])


def test_the_gpu_runs_programs_with_the_torch_that_exported_them() -> None:
    served, exported = (
        re.findall(r"^torch==\S+", (ROOT / file).read_text(), re.MULTILINE)
        for file in ("requirements-gpu.txt", "requirements-torch.txt")
    )

    assert len(served) == 1
    assert served == exported
