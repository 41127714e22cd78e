import io
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bento_service.cli.app import app
from bento_service.cli.errors import CommandError, ExplainedError, explained_errors
from bento_service.cli.models.listing import list_prepared, write_rows
from bento_service.cli.models.preparing import prepare, prepare_in_subprocess, verify
from bento_service.domain.models import InputRecipe, ModelCard, Parity, StoredModel
from bento_service.models.store import BentoModelStore
from bento_service.preparation.verification import Verification
from tests.fakes.service import FakeService

RECIPE = InputRecipe(224, 240, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class FakeStore(BentoModelStore):
    """Holds one prepared model."""

    def find(self, name: str, version: str | None = None) -> StoredModel | None:
        if name != "lite0":
            return None
        card = ModelCard(name, "0123abcd", ("cat",), RECIPE, "bundled", "Apache-2.0")
        return StoredModel(card, Path("model.onnx"), Path("model.pt2"), parities={})


def listing(names: Sequence[str]) -> list[str]:
    stream = io.StringIO()
    write_rows(list_prepared(FakeStore(), names), stream)
    return stream.getvalue().splitlines()


def test_missing_models_are_listed_with_what_to_do() -> None:
    _, prepared, missing, _, advice = listing(["lite0", "timm/resnet50"])
    assert prepared.split() == ["lite0", "prepared", "0123abcd", "240×224", "Apache-2.0", "bundled"]
    assert missing.split() == ["timm/resnet50", "missing"]
    assert "lightbox models prepare" in advice
    assert len(listing(["lite0"])) == 2  # nothing to advise


@pytest.mark.parametrize(("agreement", "word"), [(1.0, "passes"), (0.94, "fails")])
def test_verifying_shows_the_parity_of_each_engine_and_fails_with_the_gate(agreement: float, word: str) -> None:
    parity = Parity(200, agreement, 0.00377)
    verification = Verification("PyTorch in f32", {"openvino": Parity(200, 1.0, 0.0), "onnxruntime": parity})
    stream = io.StringIO()
    failing = (
        pytest.raises(CommandError, match="these fail the parity gate: lite0") if word == "fails" else nullcontext()
    )

    with failing:
        verify([FakeStore().load("lite0")], lambda model: verification, stream)

    heading, openvino, onnxruntime, summary, _ = stream.getvalue().splitlines()
    assert heading.split()[:2] == ["lite0", "crops"]
    assert openvino.split() == ["openvino", "200", "100.0%", "0.0000", "passes"]
    assert onnxruntime.split() == ["onnxruntime", "200", f"{agreement:.1%}", "0.0038", word]
    assert summary == "Version 0123abcd, compared with PyTorch in f32."


def test_preparing_shows_each_step_with_its_time() -> None:
    def prepare_missing(names: Sequence[str], on_progress: Callable[[str, str], None]) -> None:
        on_progress(names[-1], "exporting to ONNX")

    stream = io.StringIO()

    prepare(prepare_missing, ["lite0", "lite1"], stream)

    assert stream.getvalue() == "[  0.0 s] lite1: exporting to ONNX\n"


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (1, ExplainedError, r"were not prepared \(exit code 1\)"),
        (-signal.SIGKILL, CommandError, "ended by SIGKILL"),  # which the process could not say itself
    ],
)
def test_models_are_prepared_in_a_process_whose_failure_is_reported(
    code: int, error: type[CommandError], message: str
) -> None:
    commands: list[Sequence[str]] = []

    def fail(argv: Sequence[str]) -> int:
        commands.append(argv)
        return code

    with pytest.raises(error, match=message):
        prepare_in_subprocess(["lite0"], fail)

    assert [command[-3:] for command in commands] == [("models", "prepare", "lite0")]


def test_the_child_that_prepares_needs_no_installed_lightbox_and_no_module_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "typer.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    forget_installed = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f)]; "

    def run(argv: Sequence[str]) -> int:
        python, safe, option, code, *arguments = argv
        command = (python, safe, option, forget_installed + code, *arguments)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(command, env=environment, check=False).returncode

    prepare_in_subprocess(["--help"], run)

    assert "Bring in the models that are missing" in capfd.readouterr().out


def test_what_another_process_said_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left, explained_errors():
        raise ExplainedError("the models were not prepared")

    assert left.value.exit_code == 1
    assert capsys.readouterr().err == ""


def test_a_running_service_is_asked_for_its_models(service: FakeService) -> None:
    result = CliRunner().invoke(app, ["models", "--url", service.url])

    assert result.exit_code == 0
    states = {name: state for name, state, *_ in map(str.split, result.stdout.splitlines()[1:])}
    assert states == dict.fromkeys((f"efficientnet_lite{number}" for number in range(3)), "ready")


def test_a_service_that_is_still_loading_is_exit_code_1(service: FakeService) -> None:
    service.refuse("not_ready")

    result = CliRunner().invoke(app, ["models", "--url", service.url])

    assert result.exit_code == 1
    assert result.stderr == "lightbox: The fake service says not_ready.\n"
