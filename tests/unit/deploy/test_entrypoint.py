"""The program that the image runs for the arguments of `docker run`."""

import os
import subprocess
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).parents[3] / "deploy" / "docker" / "entrypoint.sh"
LIGHTBOX = ("-m", "bento_service")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With a `python` that prints its process id and its arguments."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" $$ "$@"\n')
    python.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("arguments", "ran"),
    [
        ((), (*LIGHTBOX, "serve")),
        (("--port", "4000"), (*LIGHTBOX, "serve", "--port", "4000")),
        (("serve", "--workers", "2"), (*LIGHTBOX, "serve", "--workers", "2")),
        (("classify", "a photo.jpg", "*"), (*LIGHTBOX, "classify", "a photo.jpg", "*")),
        (("models", "import", "/work/pets.onnx"), (*LIGHTBOX, "models", "import", "/work/pets.onnx")),
        (("jobs",), (*LIGHTBOX, "jobs")),
        (("bench", "--json", ""), (*LIGHTBOX, "bench", "--json", "")),
        (("python", "-c", "print(1)"), ("-c", "print(1)")),
        (("sh", "-c", 'exec python "$@"', "sh", "serve"), ("serve",)),
    ],
)
def test_the_entrypoint_becomes_the_command(
    environment: dict[str, str], arguments: tuple[str, ...], ran: tuple[str, ...]
) -> None:
    command = ["/bin/sh", str(ENTRYPOINT), *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        output, _ = process.communicate()

    # In the process that the container was started with, or signals would not reach it.
    assert output.splitlines() == [str(process.pid), *ran]


@pytest.mark.parametrize(("command", "used"), [("serve", "/dev/shm"), ("models", "")])  # noqa: S108 - only named
def test_only_the_server_keeps_temporary_files_in_memory(
    environment: dict[str, str], tmp_path: Path, command: str, used: str
) -> None:
    (tmp_path / "python").write_text('#!/bin/sh\necho "${TMPDIR:-}"\n')
    done = subprocess.run(
        ["/bin/sh", str(ENTRYPOINT), command],
        env={**environment, "TMPDIR": "/dev/shm"},  # noqa: S108
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == used


def test_a_program_by_its_path_that_does_not_exist_is_named(environment: dict[str, str]) -> None:
    command = ["/bin/sh", str(ENTRYPOINT), "/no/such/program"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 127
    assert "/no/such/program" in done.stderr
