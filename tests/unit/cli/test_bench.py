import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bento_service.cli.app import app
from bento_service.cli.bench import require_nearby
from bento_service.cli.errors import CommandError
from bento_service.load_test.address import Address
from lightbox_client import Client
from tests.fakes.service import FakeService


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)], env={"LIGHTBOX_URL": None})


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, jpegs: list[Path]) -> tuple[Result, Path]:
    """One measurement of the fake service, and the folder with its files."""
    folder = tmp_path_factory.mktemp("bench")
    with FakeService() as service, Client(service.url) as client:
        answer = client.classify(jpegs[0])
        # The same answer to each image: decoding all of them would measure this machine.
        service.answer(200, answer.model_dump_json().encode(), "application/json", path="/v1/classify")
        files = ("--json", folder / "bench.json", "--html", folder / "bench.html")
        return run("--url", service.url, "--duration", "2", "--rates", "10,20", *files), folder


def test_the_verdict_goes_to_stdout_and_what_happens_meanwhile_to_stderr(measured: tuple[Result, Path]) -> None:
    result, _ = measured

    assert result.exit_code == 0
    assert "images/s at p99 ≤ 1000 ms; limited by " in result.stdout
    assert "1 connection: " in result.stderr
    assert "10 images/s offered: p99 " in result.stderr


def test_json_and_page_have_the_same_verdict_and_the_samples_are_sent_unless_told(
    measured: tuple[Result, Path],
) -> None:
    result, folder = measured

    document = json.loads((folder / "bench.json").read_text())
    assert document["verdict"] in result.stdout
    assert document["verdict"] in (folder / "bench.html").read_text()
    assert [step["offered_per_s"] for step in document["survey"]["steps"]] == [10, 20]
    assert "No images were named, so the dashboard's samples are sent" in result.stderr
    names = {"astronaut.png", "chelsea.png", "coffee.png", "macaws.png", "tripod.png"}
    assert set(document["subject"]["image_names"]) == names


def test_images_that_the_service_cannot_read_are_left_out_by_name(service: FakeService, photographs: Path) -> None:
    result = run(photographs / "b.jpg", "--url", service.url)

    assert result.exit_code == 2
    assert f"{photographs / 'b.jpg'} is left out: You sent text" in result.stderr
    assert result.stderr.endswith("lightbox: the service can read none of the images\n")
    assert run("*.jpg", "--url", service.url).stderr.endswith("lightbox: there is no image to send\n")


def test_a_service_that_still_loads_is_not_measured(service: FakeService) -> None:
    service.is_loading = True

    result = run("--url", service.url)

    assert result.exit_code == 1
    assert f"lightbox: {service.url} is loading; try again once {service.url}/readyz answers 200\n" in result.stderr


def test_an_unknown_model_is_bad_input(service: FakeService) -> None:
    result = run("--url", service.url, "--model", "resnet50")

    assert result.exit_code == 2
    assert "No model named 'resnet50' is served. Served: efficientnet_lite0" in result.stderr


def test_a_service_that_is_down_is_one_line(service: FakeService) -> None:
    service.stop()

    result = run("--url", service.url)

    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert f"cannot reach {service.url} (Connection refused)" in result.stderr


def test_a_server_on_the_internet_is_loaded_only_with_yes_remote() -> None:
    address = Address("8.8.8.8", 443, "example.com", "example.com", "/", is_tls=True)

    with pytest.raises(CommandError, match=r"example.com \(8.8.8.8\) is neither .* add --yes-remote"):
        require_nearby(address, is_remote_allowed=False)
    require_nearby(address, is_remote_allowed=True)


@pytest.mark.parametrize("rates", ["fast", "0", "10,-5", "nan", "inf", ""])
def test_rates_that_are_none_are_bad_input(service: FakeService, rates: str) -> None:
    result = run("--url", service.url, "--rates", rates)

    assert result.exit_code == 2
    assert f"--rates is {rates!r}; it takes images/s above 0" in result.stderr
    assert service.requests == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nowhere/bench.html", "there is no folder "), ("", "Is a directory"), ("a" * 300, "File name too long")],
)
def test_an_unwritable_report_is_said_before_anything_is_sent(
    service: FakeService, tmp_path: Path, name: str, reason: str
) -> None:
    new = tmp_path / "bench.json"

    result = run("--url", service.url, "--json", new, "--html", tmp_path / name)

    assert result.exit_code == 2
    assert f"lightbox: cannot write {tmp_path / name}: {reason}" in result.stderr
    assert service.requests == []
    assert not new.exists()


def test_ctrl_c_reports_what_was_measured_and_an_unreadable_input_is_exit_code_2(
    service: FakeService, photographs: Path, tmp_path: Path
) -> None:
    page = tmp_path / "bench.html"
    (photographs / "a.png").rename(photographs / "caf\udce9.png")
    (photographs / "gone.png").symlink_to("nowhere")
    command = [sys.executable, "-m", "bento_service.cli.app", "bench", "nowhere.png", str(photographs)]
    command += ["--url", service.url, "--html", str(page)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell has what it runs in the background ignore Ctrl-C, which may be this test.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("1 connection: "):
                break
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "nowhere.png: no such file or folder\n" in said
    assert f"{photographs}/gone.png is left out: No such file or directory\n" in said
    assert errors.endswith("lightbox: 2 inputs could not be read; the figures are of the others\n")
    assert "Interrupted: the figures are of the runs that had ended." in output
    assert r"caf\xe9.png" in page.read_text()
