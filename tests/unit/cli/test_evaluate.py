"""`lightbox evaluate` by a running service, whose answer to any image is an Egyptian cat."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bento_service.cli.app import app
from tests.fakes.service import FakeService
from tests.fakes.service_data import TOP_SCORE
from tests.unit.cli.conftest import encode_photograph


def run(*arguments: str | Path, url: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"LIGHTBOX_URL": url})


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Three photographs of Egyptian cats, one of a tabby."""
    folder = tmp_path / "labelled"
    for name in ("egyptian_cat/a.png", "egyptian_cat/b.png", "Egyptian cat/c.png", "281/d.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode_photograph())
    return folder


def test_people_get_the_figures_and_the_verdict_last(service: FakeService, labelled: Path) -> None:
    result = run("efficientnet_lite0", labelled, url=service.url)

    assert (result.exit_code, result.stderr) == (0, "")
    assert "efficientnet_lite0 is right on 75.0% of 4 photographs (95 % confidence: 30.1% to 95.4%)" in result.stdout
    assert ["tabby", "Egyptian", "cat", "1"] in [line.split() for line in result.stdout.splitlines()]
    assert result.stdout.rstrip().endswith("one that the folder does not have is wrong.")


def test_the_service_is_asked_for_one_version_as_bulk(service: FakeService, labelled: Path) -> None:
    run("efficientnet_lite0", labelled, url=service.url)

    asked = [request for request in service.requests if request.path == "/v1/classify"]
    assert {request.headers["x-priority"] for request in asked} == {"bulk"}
    assert {request.query["model"] for request in asked} == {"efficientnet_lite0:v-efficientnet_lite0"}
    assert [request.query["top_k"] for request in asked] == ["20"] * 4


def test_a_right_class_that_is_not_among_the_best_is_asked_for_once_more(
    service: FakeService, labelled: Path, tmp_path: Path
) -> None:
    (labelled / "900").mkdir()
    (labelled / "281" / "d.png").rename(labelled / "900" / "d.png")
    (labelled / "281").rmdir()

    run("efficientnet_lite0", labelled, "--json", tmp_path / "figures.json", url=service.url)

    assert sorted(request.query["top_k"] for request in service.requests if "top_k" in request.query)[0] == "1000"
    figures = json.loads((tmp_path / "figures.json").read_text())["models"][0]["figures"]
    assert figures["mistakes"][0]["true_score"] < 1e-6
    assert figures["log_loss"] == pytest.approx((-3 * math.log(TOP_SCORE) - math.log(1e-7)) / 4)


def test_json_goes_to_stdout_and_a_page_to_its_file(service: FakeService, labelled: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"

    result = run("efficientnet_lite0", labelled, "--json", "-", "--html", page, "--limit", "2", url=service.url)

    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["found"], document["models"][0]["figures"]["photographs"]) == (4, 2)
    assert "efficientnet_lite0 is right on" in page.read_text()


@pytest.mark.parametrize("options", [(), ("--json", "-")])
def test_a_disk_that_is_full_is_one_line_and_the_page_is_there(
    service: FakeService, labelled: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "bento_service.cli.app", "evaluate", "efficientnet_lite0", str(labelled)]

    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*command, "--url", service.url, "--html", page, *options],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )

    assert (done.returncode, done.stderr) == (1, "lightbox: cannot write <stdout>: No space left on device\n")
    assert "efficientnet_lite0 is right on" in page.read_text()


def test_no_password_of_an_address_is_in_the_report(
    service: FakeService, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = service.url.replace("://", "://ada:secret@")
    arguments = ["evaluate", "efficientnet_lite0", str(labelled), f"--url={url}", "--json", "-"]
    monkeypatch.setattr(sys, "argv", ["lightbox", *arguments])

    document = json.loads(CliRunner().invoke(app, arguments).stdout)

    assert document["run_by"] == f"the service at {service.url}"
    assert f"--url={service.url} " in document["command"]


def test_models_are_compared_on_the_same_photographs(service: FakeService, labelled: Path) -> None:
    result = run("efficientnet_lite0", labelled, "--against", "efficientnet_lite2", url=service.url)

    assert result.exit_code == 0
    assert "efficientnet_lite0 and efficientnet_lite2 are right on the same photographs." in result.stdout


@pytest.mark.parametrize(("least", "exit_code"), [("0.75", 0), ("0.76", 3)])
def test_an_accuracy_below_what_was_asked_for_is_exit_code_3_after_the_report(
    service: FakeService, labelled: Path, least: str, exit_code: int
) -> None:
    result = run("efficientnet_lite0", labelled, "--min-accuracy", least, url=service.url)

    assert result.exit_code == exit_code
    assert "was asked for: " in result.stdout


def test_a_file_that_fails_is_named_and_ends_nothing(service: FakeService, labelled: Path) -> None:
    (labelled / "281" / "e.png").write_bytes(b"no image")

    result = run("efficientnet_lite0", labelled, url=service.url)

    assert result.exit_code == 2
    assert f"{labelled / '281' / 'e.png'}: You sent text" in result.stderr
    assert (
        "Without an answer of efficientnet_lite0, and in no figure: 1 photograph, unsupported_format (1)."
        in result.stdout
    )


@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (("resnet50",), "No model named 'resnet50' is served", 2),
        (("efficientnet_lite0", "--against", "efficientnet_lite0"), "is named twice", 2),
        (("efficientnet_lite0", "--html", "nowhere/page.html"), "there is no folder nowhere", 2),
        (("efficientnet_lite0", "--labels-map", "nowhere.txt"), "'nowhere.txt' cannot be read", 2),
    ],
)
def test_what_is_wrong_is_one_line_before_any_photograph_is_sent(
    service: FakeService, labelled: Path, arguments: tuple[str, ...], message: str, exit_code: int
) -> None:
    model, *options = arguments

    result = run(model, labelled, *options, url=service.url)

    assert (result.exit_code, len(result.stderr.splitlines())) == (exit_code, 1)
    assert message in result.stderr
    assert not any(request.path == "/v1/classify" for request in service.requests)


def test_a_folder_that_is_no_class_is_bad_input(service: FakeService, labelled: Path) -> None:
    (labelled / "wolves").mkdir()

    result = run("efficientnet_lite0", labelled, url=service.url)

    assert result.exit_code == 2
    assert "neither labels nor class ids of the model: 'wolves'" in result.stderr


def test_a_service_that_is_down_is_exit_code_1(service: FakeService, labelled: Path) -> None:
    service.stop()

    assert run("efficientnet_lite0", labelled, url=service.url).exit_code == 1
