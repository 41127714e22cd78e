"""What the image and the bentos are made from: the Dockerfile's template, the bentofiles, the requirements."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment

from bento_service import __version__
from bento_service.settings import Settings
from tests.unit.deploy.kustomization import KUBERNETES, render

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "deploy" / "docker" / "service.Dockerfile.j2"
BENTOFILES = ("bentofile.yaml", "bentofile.gpu.yaml")


@pytest.fixture
def instructions() -> list[str]:
    """The Dockerfile as BentoML would write it, an instruction a line."""
    jinja = Environment(autoescape=False)  # noqa: S701 - no HTML
    jinja.filters["bash_quote"] = lambda value: f"'{value}'"
    rendered = jinja.from_string(TEMPLATE.read_text()).render(
        __base_image__="python:3.11-slim", bento__uid_gid=1034, __options__env={"MALLOC_ARENA_MAX": "2"}
    )
    without_comments = re.sub(r"^\s*#.*\n", "", rendered, flags=re.MULTILINE)
    return [line for line in re.sub(r"\\\n\s*", "", without_comments).splitlines() if line.strip()]


@pytest.fixture
def last_stage(instructions: list[str]) -> list[str]:
    begin = max(number for number, line in enumerate(instructions) if line.startswith("FROM "))
    return instructions[begin:]


def only(lines: list[str], keyword: str) -> str:
    [found] = [line.removeprefix(f"{keyword} ") for line in lines if line.startswith(f"{keyword} ")]
    return found


def test_a_version_that_nobody_names_is_the_packages(last_stage: list[str]) -> None:
    assert f"ARG VERSION={__version__}" in last_stage


def test_a_start_may_take_as_long_as_on_kubernetes_with_a_gpu(last_stage: list[str]) -> None:
    probe = render(KUBERNETES / "overlays" / "gpu").container("lightbox-api")["startupProbe"]

    assert f"--start-period={probe['periodSeconds'] * probe['failureThreshold']}s " in only(last_stage, "HEALTHCHECK")


def test_every_setting_that_it_chooses_is_one(last_stage: list[str]) -> None:
    environment = " ".join(line for line in last_stage if line.startswith("ENV "))
    chosen = set(re.findall(r"LIGHTBOX_(\w+)=", environment))

    assert chosen
    assert {name.lower() for name in chosen} <= Settings.model_fields.keys()
    assert "MALLOC_ARENA_MAX='2'" in environment


def read_bentofile(name: str) -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return described


@pytest.mark.parametrize("name", BENTOFILES)
def test_a_bento_takes_along_the_models_that_are_served_unless_others_are_named(name: str) -> None:
    default = Settings.model_fields["models"].default

    assert read_bentofile(name)["models"] == [f"lightbox-{model}:latest" for model in default]


@pytest.mark.parametrize("name", BENTOFILES)
def test_a_bento_takes_along_what_its_image_is_made_from(name: str) -> None:
    bentofile = read_bentofile(name)
    requirements = Path(bentofile["python"]["requirements_txt"])
    files = {pattern.lstrip("/") for pattern in bentofile["include"]}
    included = re.findall(r"^-r (\S+)", (ROOT / requirements).read_text(), re.MULTILINE)

    assert {str(requirements), *included, "constraints.txt"} <= files
    assert Path(bentofile["docker"]["dockerfile_template"]) == TEMPLATE.relative_to(ROOT)
    for source in re.findall(r"^COPY src/(\S+)", TEMPLATE.read_text(), re.MULTILINE):
        assert source in files or f"{Path(source).parent}/*" in files


def test_both_bentos_are_the_same_service_in_the_same_image() -> None:
    cpu, gpu = (read_bentofile(name) for name in BENTOFILES)

    for shared in ("service", "description", "labels", "docker", "models"):
        assert gpu[shared] == cpu[shared]
    assert all(variable in gpu["envs"] for variable in cpu["envs"])
    assert set(gpu["include"]) > set(cpu["include"])
    assert gpu["name"] != cpu["name"]


def test_the_gpu_runs_programs_with_the_torch_that_exported_them() -> None:
    def pin(file: str) -> list[str]:
        return re.findall(r"^torch==\S+", (ROOT / file).read_text(), re.MULTILINE)

    assert len(pin("requirements-gpu.txt")) == 1
    assert pin("requirements-gpu.txt") == pin("requirements-models.txt")
