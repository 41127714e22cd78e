import io
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bento_service.cli.app import app
from bento_service.cli.errors import CommandError, ExplainedError, explained_errors
from bento_service.cli.models import list_prepared, prepare, prepare_in_subprocess, write_rows
from bento_service.domain.models import InputRecipe, ModelCard, StoredModel
from bento_service.models.store import BentoModelStore
from tests.fakes.service import FakeService

RECIPE = InputRecipe(224, 240, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class FakeStore(BentoModelStore):
    """Holds one prepared model."""

    def find(self, name: str) -> StoredModel | None:
        if name != "lite0":
            return None
        card = ModelCard(name, "0123abcd", ("cat",), RECIPE, "bundled", "Apache-2.0")
        return StoredModel(card, Path("model.onnx"), Path("model.pt2"), parities={})


def test_prepared_models_are_listed_with_their_cards_and_missing_ones_with_what_to_do() -> None:
    stream = io.StringIO()

    write_rows(list_prepared(FakeStore(), ["lite0", "timm/resnet50"]), stream)

    _, prepared, missing, _, advice = stream.getvalue().splitlines()
    assert prepared.split() == ["lite0", "prepared", "0123abcd", "240×224", "Apache-2.0", "bundled"]
    assert missing.split() == ["timm/resnet50", "missing"]
    assert "lightbox models prepare" in advice


def test_nothing_is_advised_where_nothing_is_missing() -> None:
    stream = io.StringIO()

    write_rows(list_prepared(FakeStore(), ["lite0"]), stream)

    assert "prepare`" not in stream.getvalue()


def test_preparing_shows_each_step_with_its_time() -> None:
    def prepare_missing(names: Sequence[str], on_progress: Callable[[str, str], None]) -> None:
        on_progress(names[-1], "exporting to ONNX")

    stream = io.StringIO()

    prepare(prepare_missing, ["lite0", "lite1"], stream)

    assert stream.getvalue() == "[  0.0 s] lite1: exporting to ONNX\n"


def test_models_are_prepared_in_a_process_whose_failure_is_reported() -> None:
    commands: list[Sequence[str]] = []

    def fail(argv: Sequence[str]) -> int:
        commands.append(argv)
        return 1

    with pytest.raises(ExplainedError, match=r"were not prepared \(exit code 1\)"):
        prepare_in_subprocess(["lite0"], fail)

    assert commands == [(sys.executable, "-m", "bento_service.cli.app", "models", "prepare", "lite0")]


def test_a_process_that_was_killed_could_not_say_so_itself() -> None:
    with pytest.raises(CommandError, match="ended by SIGKILL"):
        prepare_in_subprocess(["lite0"], lambda argv: -signal.SIGKILL)


def test_what_another_process_said_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left, explained_errors():
        raise ExplainedError("the models were not prepared")

    assert left.value.exit_code == 1
    assert capsys.readouterr().err == ""


def test_a_running_service_is_asked_for_its_models(service: FakeService) -> None:
    result = CliRunner().invoke(app, ["models", "--url", service.url])

    assert result.exit_code == 0
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [
        ["efficientnet_lite0", "ready"],
        ["efficientnet_lite1", "ready"],
        ["efficientnet_lite2", "ready"],
    ]


def test_a_service_that_is_still_loading_is_exit_code_1(service: FakeService) -> None:
    service.refuse("not_ready")

    result = CliRunner().invoke(app, ["models", "--url", service.url])

    assert result.exit_code == 1
    assert result.stderr == "lightbox: The fake service says not_ready.\n"
