"""The image for CUDA: on its GPU where the engine can give it one, on the CPU elsewhere, and it says which."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest
import requests

from tests.containers.docker_cli import CAT, GPU_IMAGE, HARDENED, Container, container, docker

pytestmark = [pytest.mark.gpu_image, pytest.mark.timeout(900)]


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU whose driver answers."""
    return (
        shutil.which("nvidia-smi") is not None
        and not subprocess.run(
            ["nvidia-smi"],  # noqa: S607 - the driver's own
            capture_output=True,
            check=False,
        ).returncode
    )


@pytest.fixture(scope="module")
def without_gpu() -> Iterator[Container]:
    with container(GPU_IMAGE, *HARDENED) as running:
        running.wait_ready()
        yield running


def device_kind(running: Container) -> str:
    return str(requests.get(f"{running.url}/v1/status", timeout=30).json()["device"]["kind"])


def test_it_holds_pytorch_with_cuda() -> None:
    script = "import torch; print(torch.version.cuda)"
    cuda_version = docker("run", "--rm", "--network", "none", GPU_IMAGE, "python", "-c", script)

    assert cuda_version[0].isdecimal()


def test_without_a_gpu_it_serves_on_the_cpu_and_says_so(without_gpu: Container) -> None:
    assert CAT.search(without_gpu.classify()["predictions"][0]["label"])
    assert device_kind(without_gpu) == "cpu"
    assert "docker run --gpus all" in without_gpu.logs()


def test_a_requested_gpu_that_is_missing_ends_the_container() -> None:
    with container(GPU_IMAGE, *HARDENED, "--env", "LIGHTBOX_DEVICE=cuda") as refused:
        docker("wait", refused.name)

        assert refused.exit_code != 0
        assert "docker run --gpus all" in refused.logs()
        assert "Traceback" not in refused.logs()


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu(), reason="there is no NVIDIA GPU here")
def test_with_a_gpu_it_serves_on_it() -> None:
    with container(GPU_IMAGE, *HARDENED, "--gpus", "all") as running:
        running.wait_ready()

        assert CAT.search(running.classify()["predictions"][0]["label"])
        assert device_kind(running) == "cuda"
