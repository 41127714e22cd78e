"""The README's examples, run as they stand against the real service."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.running_service import RunningService

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def examples(language: str) -> list[str]:
    found = [text for kind, text in EXAMPLES if kind == language]
    assert found
    return found


def run(command: list[str], service: RunningService, folder: Path = ROOT) -> str:
    environment = {**os.environ, "LIGHTBOX_URL": service.url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def at(service: RunningService, example: str) -> str:
    return example.replace("http://localhost:3000", service.url)


@pytest.mark.parametrize("example", [text for text in examples("bash") if text.startswith("curl")])
def test_the_curl_examples_classify(service: RunningService, example: str) -> None:
    output = run(["bash", "-c", at(service, example)], service)

    assert '"class_id":28' in output


@pytest.mark.parametrize("example", examples("python"))
def test_the_python_examples_classify(service: RunningService, example: str) -> None:
    assert run([sys.executable, "-c", at(service, example)], service)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
@pytest.mark.parametrize("example", examples("javascript"))
def test_the_javascript_example_classifies(service: RunningService, example: str) -> None:
    assert "cat" in run(["node", "--input-type=module", "-e", at(service, example)], service)


@pytest.mark.parametrize(
    "line",
    [line for text in examples("bash") for line in text.splitlines() if re.search("lightbox (classify|explain)", line)],
)
def test_the_command_line_examples_classify_and_explain(service: RunningService, line: str, tmp_path: Path) -> None:
    command = line.partition("  #")[0].replace(".venv/bin/lightbox", f"{sys.executable} -m bento_service.cli.app")
    command = command.replace("--out map.png", f"--out {tmp_path / 'map.png'}")

    assert "chelsea.png" in run(["bash", "-c", command], service)


def test_the_evaluations_of_the_samples_run(service: RunningService, tmp_path: Path) -> None:
    (tmp_path / "dashboard").symlink_to(ROOT / "dashboard")
    example = next(text for text in examples("bash") if text.startswith("mkdir -p photos"))
    command = example.replace(".venv/bin/lightbox", f"{sys.executable} -m bento_service.cli.app")

    output = run(["bash", "-ec", command], service, tmp_path)

    assert "of 3 photographs (95 % confidence: 43.9% to 100.0%); 95.0% was asked for: reached" in output
    assert {path.name for path in tmp_path.glob("report.*")} == {"report.html", "report.json"}
