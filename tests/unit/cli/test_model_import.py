"""`lightbox models import` and what it stores, from a file to a file."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner, Result

from bento_service.cli.app import app
from tests.fakes.onnx_graphs import make_classifier


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Run":
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setenv("LIGHTBOX_MODEL_STORE", str(tmp_path / "store"))
    return Run()


class Run:
    def __call__(self, *arguments: object, expected: int = 0) -> Result:
        result = CliRunner().invoke(app, ["models", *map(str, arguments)])
        assert result.exit_code == expected, result.output
        return result


def test_a_model_goes_from_a_file_into_the_store_and_out_of_it_to_the_same_version(run: Run, tmp_path: Path) -> None:
    source, labels, exported = tmp_path / "pets.onnx", tmp_path / "labels.txt", tmp_path / "out" / "pets.onnx"
    onnx.save(make_classifier(), source)
    labels.write_text("cat\nbig dog\nbird\n", encoding="utf-8")
    facts = ("--recipe", "inception", "--fit", "squash", "--licence", "MIT")

    followed = run("import", source, "--name", "pets", "--labels", labels, *facts).stderr
    assert "pets: 3 labels (cat, big dog, bird): --labels" in followed
    assert "pets: measuring parity and memory: 100%" in followed
    assert "Serve it with `LIGHTBOX_MODELS=pets lightbox up`, or `lightbox models load pets`" in followed
    card = json.loads(run("show", "pets", "--json").stdout)
    assert (card["labels"], card["recipe"]["fit"], card["licence"]) == (["cat", "big dog", "bird"], "squash", "MIT")
    assert card["found_in"]["mean"] == "--recipe inception"
    assert "squash" in run("show", f"pets:{card['version'][:4]}").stdout
    assert run("labels", "pets").stdout == labels.read_text(encoding="utf-8")
    assert str(tmp_path / "store") in card["onnx_path"]

    run("export", "pets", exported)
    run("import", exported, "--name", "again")
    listed = [row.split()[:2] for row in run("list").stdout.splitlines()[1:]]
    assert [row for row in listed if not row[0].startswith("efficientnet")] == [
        ["again", card["version"]],
        ["pets", card["version"]],
    ]
    assert "exists already" in run("export", "pets", exported, expected=1).stderr
    exported.unlink()
    assert "pets.card.json exists already" in run("export", "pets", exported, expected=1).stderr
    assert not exported.exists()

    damaged = tmp_path / "store" / "lightbox-again" / card["version"] / "card.json"
    damaged.write_text(" " * damaged.stat().st_size)
    listed_beside = run("list", expected=1)
    assert f"again:{card['version']} in the model store is damaged" in listed_beside.stderr
    assert card["version"] in listed_beside.stdout
    for name in ("again", "pets"):
        run("remove", name)
        assert "not in the model store" in run("show", name, expected=1).stderr


def refused(*arguments: str) -> Sequence[str]:
    return arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (refused("--name", "Pets"), "--name is 'Pets'; a name has lower-case letters"),
        (refused("--name", "a:b"), "--name is 'a:b'"),
        (refused("--name", "x" * 51), "at most 50"),
        (refused("--name", "efficientnet_lite0"), "a bundled model's"),
        (refused("--name", "pets", "--size", "0"), "--size is '0'"),
        (refused("--name", "pets", "--size", "12x0"), "--size is '12x0'"),
        (refused("--name", "pets", "--mean", "a,b,c"), "--mean is 'a,b,c'"),
        (refused("--name", "pets", "--std", "58,57,57"), "divide those for 0-255 by 255"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_file_is_read(
    run: Run, tmp_path: Path, arguments: Sequence[str], message: str
) -> None:
    assert message in run("import", tmp_path, *arguments, expected=2).stderr


def test_an_import_that_is_stopped_leaves_no_file_behind(tmp_path: Path) -> None:
    onnx.save(make_classifier(), tmp_path / "pets.onnx")
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\n")
    (temporary := tmp_path / "temporary").mkdir()
    environment = os.environ | {"TMPDIR": str(temporary), "LIGHTBOX_MODEL_STORE": str(tmp_path / "store")}
    facts = ("--name", "pets", "--recipe", "inception", "--labels", tmp_path / "labels.txt")
    command = (sys.executable, "-m", "bento_service.cli.app", "models", "import", tmp_path / "pets.onnx", *facts)

    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as importing:
        assert importing.stderr is not None
        next(line for line in importing.stderr if "wrapping the graph" in line)
        importing.terminate()
        importing.communicate()

    assert importing.returncode != 0
    assert not list(temporary.iterdir())


def test_missing_facts_are_exit_code_2(run: Run, tmp_path: Path) -> None:
    onnx.save(make_classifier(), tmp_path / "pets.onnx")

    asked = run("import", tmp_path / "pets.onnx", "--name", "pets", expected=2).stderr

    assert "- the 3 labels: --labels FILE" in asked


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    # A process of its own: BentoML, once imported, keeps the store that it found first.
    command = (sys.executable, "-m", "bento_service.cli.app", "models", "list")
    listed = subprocess.run(
        command, env=os.environ | {"BENTOML_HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert "lightbox models import SOURCE --name NAME" in listed.stdout


def test_a_files_control_characters_reach_no_terminal(run: Run, tmp_path: Path) -> None:
    model = make_classifier()
    model.producer_name = "\x1b]0;title\x07"
    onnx.save(model, tmp_path / "pets.onnx")
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\n")
    facts = ("--recipe", "inception", "--labels", tmp_path / "labels.txt", "--licence", "\x1b[31mMIT")

    followed = run("import", tmp_path / "pets.onnx", "--name", "pets", *facts).stderr
    shown = followed + run("show", "pets").stdout + run("list").stdout

    assert r"\x1b[31mMIT" in shown
    assert "\x1b" not in shown


def test_wrong_facts_are_exit_code_2_and_a_store_that_cannot_be_written_is_told_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(make_classifier(), tmp_path / "pets.onnx")
    (tmp_path / "labels.txt").write_text("cat\n")
    facts = ("--recipe", "inception", "--labels", tmp_path / "labels.txt")

    refused = run("import", tmp_path / "pets.onnx", "--name", "pets", *facts, expected=2).stderr
    assert "has 3 classes, and --labels" in refused
    assert "no file of labels" in run("import", tmp_path, "--name", "pets", "--labels", "none.txt", expected=2).stderr

    monkeypatch.setenv("LIGHTBOX_MODEL_STORE", str(tmp_path / "labels.txt" / "store"))
    refused = run("import", tmp_path / "pets.onnx", "--name", "pets", *facts, expected=1).stderr
    assert "'pets' cannot be imported or removed: nothing can be written to the model store" in refused
    assert "reading the ONNX file" not in refused
