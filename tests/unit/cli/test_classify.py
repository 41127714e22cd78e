import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bento_service.cli.app import app
from lightbox_client.contract import Classification
from tests.fakes.service import FakeService

COMMAND: list[str | Path] = [sys.executable, "-m", "bento_service.cli.app", "classify"]


def run(*arguments: str | Path, url: str | None = None) -> Result:
    return CliRunner().invoke(app, ["classify", *map(str, arguments)], env={"LIGHTBOX_URL": url})


def test_people_get_a_table_with_the_best_class_first(service: FakeService, photographs: Path) -> None:
    result = run(photographs / "a.png", "--url", service.url, "--top-k", "2")

    assert result.exit_code == 0
    header, best, second = result.stdout.splitlines()
    assert header.split() == ["file", "class", "score", "id", "ms"]
    assert best.split() == [str(photographs / "a.png"), "Egyptian", "cat", "35.6%", "285", "13.0"]
    assert second.split() == ["tabby", "22.9%", "281"]
    assert result.stderr == ""


def test_a_bad_file_is_named_and_stops_no_other(service: FakeService, photographs: Path) -> None:
    result = run(photographs, "--url", service.url, "--top-k", "1")

    assert result.exit_code == 2
    assert [line.split()[0].rsplit("/")[-1] for line in result.stdout.splitlines()[1:]] == ["a.png", "c.png", "d.PNG"]
    assert f"{photographs / 'b.jpg'}: You sent text" in result.stderr
    assert "(unsupported_format)" in result.stderr
    assert result.stderr.endswith("lightbox: 1 of 4 inputs got no answer\n")


def test_json_is_a_document_a_line_in_the_order_of_the_files(service: FakeService, photographs: Path) -> None:
    result = run(photographs, "--url", service.url, "--json", "--model", "efficientnet_lite2")

    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["a.png", "b.jpg", "c.png", "d.PNG"]
    assert lines[1]["result"] is None
    assert lines[1]["error"]["code"] == "unsupported_format"
    answer = Classification.model_validate(lines[0]["result"])
    assert answer.model.name == "efficientnet_lite2"
    assert len(answer.predictions) == 5


def test_csv_has_a_row_a_prediction_and_one_for_an_error(service: FakeService, photographs: Path) -> None:
    result = run(photographs, "--url", service.url, "--csv", "--top-k", "2")

    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(Path(row["file"]).name, row["rank"], row["label"], row["error_code"]) for row in rows[:3]] == [
        ("a.png", "1", "Egyptian cat", ""),
        ("a.png", "2", "tabby", ""),
        ("b.jpg", "", "", "unsupported_format"),
    ]
    assert float(rows[0]["score"]) == 0.3561


def test_an_output_that_cannot_be_written_is_said_before_any_work(
    service: FakeService, photographs: Path, tmp_path: Path
) -> None:
    result = run(photographs, "--url", service.url, "--output", tmp_path / "nowhere" / "answers.csv")

    assert result.exit_code == 2
    assert "answers.csv: No such file or directory" in result.stderr
    assert service.requests == []


@pytest.mark.parametrize("options", [("--csv",), ("--json",), ("--top-k=1",), ("--json", "-o", "/dev/full")])
def test_a_disk_that_is_full_is_one_line(service: FakeService, photographs: Path, options: tuple[str, ...]) -> None:
    command = [*COMMAND, photographs / "a.png", "--url", service.url, *options]

    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)

    name = options[-1] if "-o" in options else "<stdout>"
    assert (done.returncode, done.stderr) == (1, f"lightbox: cannot write {name}: No space left on device\n")


def test_a_reader_that_has_enough_ends_the_run_quietly(service: FakeService, photographs: Path) -> None:
    command = [*COMMAND, photographs / "a.png", "--url", service.url, "--json"]
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(command, check=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)

    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("form", ["--json", "--csv", "--top-k=1"])
def test_a_name_that_is_not_utf_8_is_shown_by_escapes_and_stops_nothing(
    service: FakeService, photographs: Path, tmp_path: Path, form: str
) -> None:
    for name in (b"caf\xe9.png", b"line\nbreak.png"):
        (photographs / "deeper" / os.fsdecode(name)).write_bytes((photographs / "a.png").read_bytes())
    output = tmp_path / "answers"

    result = run(photographs / "deeper", "--url", service.url, form, "-o", output)

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    shown = output.read_text().replace(r"\\", "\\")
    assert r"deeper/caf\xe9.png" in shown
    assert "d.PNG" in shown


@pytest.mark.parametrize("form", ["--json", "--top-k=1"])
def test_an_output_that_cannot_encode_a_name_gets_escapes(service: FakeService, photographs: Path, form: str) -> None:
    path = photographs / "ü☕.png"
    path.write_bytes((photographs / "a.png").read_bytes())
    command = [*COMMAND, path, path.parent / "b.jpg", form]
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict", "LIGHTBOX_URL": service.url}

    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)

    assert done.returncode == 2
    if form == "--json":
        assert json.loads(done.stdout.splitlines()[0])["file"] == str(path)
    else:
        assert r"/\xfc\u2615.png" in done.stdout
    assert len(done.stderr.splitlines()) == 2


def test_a_busy_service_is_waited_for(service: FakeService, photographs: Path) -> None:
    service.refuse("overloaded", path="/v1/classify", times=10, retry_after_s=0)

    result = run(photographs / "a.png", "--url", service.url)

    assert (result.exit_code, result.stderr) == (0, "")


def test_nothing_to_classify_is_bad_input(service: FakeService, tmp_path: Path) -> None:
    result = run(tmp_path / "*.jpg", "--url", service.url)

    assert result.exit_code == 2
    assert "*.jpg: no image file matches this pattern\nlightbox: there is no image to classify\n" in result.stderr


def test_a_missing_file_is_bad_input_and_stops_no_other(service: FakeService, photographs: Path) -> None:
    result = run(photographs / "a.png", photographs / "nowhere.png", "--url", service.url, "--json")

    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 1
    assert "nowhere.png: no such file or folder" in result.stderr


def test_a_failure_of_one_image_stops_no_other(service: FakeService, photographs: Path) -> None:
    service.refuse("inference_failed", times=1)

    result = run(photographs / "a.png", photographs / "c.png", "--url", service.url, "--json", "--concurrency", "1")

    assert result.exit_code == 2
    first, second = [json.loads(line) for line in result.stdout.splitlines()]
    assert first["error"]["code"] == "inference_failed"
    assert second["result"] is not None


def test_a_service_that_is_down_is_one_line_and_exit_code_1(service: FakeService, photographs: Path) -> None:
    service.stop()

    result = run(photographs, url=service.url)  # which the environment names

    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert result.stderr.startswith(f"lightbox: cannot reach {service.url} (Connection refused)")


def test_what_is_wrong_with_every_file_is_said_once(service: FakeService, photographs: Path) -> None:
    result = run(photographs, "--url", service.url, "--model", "resnet50")

    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert result.stderr.startswith("lightbox: No model named 'resnet50' is served. Served: efficientnet_lite0")


def test_an_answer_of_another_program_is_exit_code_1(service: FakeService, photographs: Path) -> None:
    service.answer(200, b"<html>hello</html>")

    result = run(photographs, "--url", service.url)

    assert result.exit_code == 1
    assert "which is no Classification of Lightbox" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--url", "localhost:3000"), "'localhost:3000' is no address of a service"),
        (("--json", "--csv"), "exclude each other"),
        (("--local", "--url", "http://127.0.0.1:3000"), "exclude each other"),
    ],
)
def test_wrong_options_are_bad_input(photographs: Path, options: tuple[str, ...], message: str) -> None:
    result = run(photographs, *options)

    assert result.exit_code == 2
    assert message in result.stderr
