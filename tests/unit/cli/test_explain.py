import io
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from bento_service.cli.app import app
from lightbox_client.contract import Explanation
from tests.fakes.service import FakeService


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


def test_people_get_the_class_the_method_and_where_the_map_is_strongest(
    service: FakeService, photographs: Path
) -> None:
    result = run(photographs / "a.png", "--url", service.url)

    assert result.exit_code == 0
    best, method, place = result.stdout.splitlines()
    assert best == f"{photographs / 'a.png'}: Egyptian cat (class 285), 35.6%, by efficientnet_lite0"
    assert method.startswith("class activation map")
    assert place.startswith("strongest at ")
    assert place.endswith(" of 60 x 40 px")


def test_a_map_that_is_an_estimate_is_called_one(service: FakeService, photographs: Path) -> None:
    result = run(photographs / "a.png", "--url", service.url, "--method", "occlusion", "--class", "281")

    assert "tabby (class 281)" in result.stdout
    assert "an estimate" in result.stdout


def test_a_picture_and_json_come_from_one_call(service: FakeService, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "map.png"

    result = run(photographs / "a.png", "--url", service.url, "--out", out, "--json", "--model", "efficientnet_lite2")

    explanation = Explanation.model_validate_json(result.stdout)
    assert (explanation.model.name, explanation.method) == ("efficientnet_lite2", "cam")
    with Image.open(io.BytesIO(out.read_bytes())) as picture:
        assert (picture.format, picture.size) == ("PNG", (60, 40))
    assert len(service.seen("/v1/explain")) == 1


def test_a_bad_file_is_one_line(service: FakeService, photographs: Path) -> None:
    result = run(photographs / "b.jpg", "--url", service.url)

    assert result.exit_code == 2
    assert result.stderr.startswith(f"lightbox: {photographs / 'b.jpg'}: You sent text")
    assert result.stderr.endswith("(unsupported_format)\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png"], "missing.png: no such file or folder"),
        (["."], "has 4 images; one is explained at a time"),
        (["a.png", "--class", "1000"], "class_id is 1000"),
        (["a.png", "--out", "nowhere/map.png"], "cannot write nowhere/map.png: there is no folder nowhere"),
        (["a.png", "--local", "--url", "http://127.0.0.1:1"], "exclude each other"),
    ],
)
def test_what_cannot_be_done_is_said(
    service: FakeService, photographs: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(photographs)
    monkeypatch.setenv("LIGHTBOX_URL", service.url)

    result = run(*arguments)

    assert result.exit_code == 2
    assert message in result.stderr
