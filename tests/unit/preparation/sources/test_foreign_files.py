"""What lies beside a model may have any content: it is read or refused, and takes neither time nor memory."""

import json
from pathlib import Path

import pytest

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.discovery import find_source
from bento_service.preparation.sources.hugging_face import read_folder
from bento_service.preparation.sources.onnx_metadata import LABELS, LICENCE, RECIPE, SCORE_KIND, SOURCE, read_metadata

RECIPE_JSON = json.dumps(
    {
        "height_px": 8,
        "width_px": 8,
        "crop_fraction": 1,
        "interpolation": "box",
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
    }
)
EXPORT = {LABELS: "[]", RECIPE: RECIPE_JSON, SCORE_KIND: "softmax", LICENCE: "MIT", SOURCE: "a test"}
ULTRALYTICS = {"names": "{0: 'a'}", "imgsz": "[8, 8]", "task": "classify"}
CONFIG = '{"architectures": ["X"], "id2label": {"0": "a"}}'
DEEP = "[" * 100_000
BOMB = (
    "a0: &a0 [x, x]\n"
    + "".join(f"a{index}: &a{index} [*a{index - 1}, *a{index - 1}]\n" for index in range(1, 60))
    + "flavors: {onnx: {data: *a59}}\n"
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", '{"architectures": 5}'),
        ("config.json", '{"architectures": {"a": 1}}'),
        ("config.json", '{"id2label": ["a", "b"]}'),
        ("config.json", '{"architecture": "x", "pretrained_cfg": {"input_size": [3, 1e999, 2]}}'),
        ("config.json", DEEP),
        ("labels.txt", DEEP),
        ("labels.txt", "a\n" * 3_000_000),
        ("MLmodel", BOMB),
        ("MLmodel", DEEP),
        ("MLmodel", "flavors: {onnx: 5}"),
        ("MLmodel", "flavors: {1: 5}"),
        ("MLmodel", "x" * 200_000),
        ("card.json", DEEP),
    ],
)
def test_a_folder_with_any_content_is_refused_with_a_sentence(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    (tmp_path / "labels.json").write_text("[]")

    with pytest.raises(ModelLoadError):
        find_source(tmp_path)


@pytest.mark.parametrize(
    "processor",
    [
        '{"size": {"shortest_edge": 0}, "crop_size": {"height": 8, "width": 8}, "do_center_crop": true}',
        '{"image_mean": [1' + "0" * 4_000 + '], "image_std": [1]}',
    ],
)
def test_numbers_that_cannot_be_are_refused_with_their_file(tmp_path: Path, processor: str) -> None:
    (tmp_path / "config.json").write_text(CONFIG)
    (tmp_path / "preprocessor_config.json").write_text(processor)

    with pytest.raises(ModelLoadError, match=r"preprocessor_config\.json cannot be read"):
        read_folder(tmp_path)


@pytest.mark.parametrize("header", ["date: 2024-13-45", "a: " + "[" * 20_000])
def test_a_model_card_that_is_no_yaml_says_nothing(tmp_path: Path, header: str) -> None:
    (tmp_path / "config.json").write_text(CONFIG)
    (tmp_path / "README.md").write_text(f"---\n{header}\n---\n")

    assert read_folder(tmp_path).facts.licence is None


@pytest.mark.parametrize(
    "metadata",
    [
        {key: value for key, value in EXPORT.items() if key != LABELS},
        EXPORT | {LABELS: DEEP},
        EXPORT | {LABELS: "5"},
        ULTRALYTICS | {"names": "['a']"},
        ULTRALYTICS | {"names": "(" * 50_000},
        ULTRALYTICS | {"names": "-" * 1_000_000 + "1"},
        ULTRALYTICS | {"imgsz": "[1e999, 8]"},
    ],
)
def test_metadata_with_any_content_are_refused_with_a_sentence(metadata: dict[str, str]) -> None:
    with pytest.raises(ModelLoadError, match="The metadata of the ONNX file cannot be read"):
        read_metadata(metadata)


def test_labels_are_not_read_through_a_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password\n")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"\x08\x08")
    (folder / "labels.txt").symlink_to(tmp_path / "secret")

    with pytest.raises(ModelLoadError, match=r"'labels\.txt' of .* is outside of that folder"):
        find_source(folder)
