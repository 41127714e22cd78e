from dataclasses import fields

import pytest

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.findings import ModelFindings
from bento_service.preparation.sources.onnx_metadata import read_metadata

ULTRALYTICS = {
    "names": "{0: 'cat', 1: 'dog'}",
    "imgsz": "[224, 224]",
    "task": "classify",
    "license": "AGPL-3.0 License (https://ultralytics.com/license)",
}


def values_of(found: ModelFindings) -> dict[str, object]:
    parts = (found.facts, found.recipe)
    pairs = ((field.name, getattr(part, field.name)) for part in parts for field in fields(part))
    return {name: finding.value for name, finding in pairs if finding is not None}


def test_ultralytics_says_everything_with_its_licence() -> None:
    assert values_of(read_metadata(ULTRALYTICS)) == {
        "labels": ("cat", "dog"),
        "licence": "AGPL-3.0",
        "size": (224, 224),
        "fit": "crop",
        "crop_fraction": 1.0,
        "interpolation": "bilinear",
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "channels": "rgb",
    }
    assert values_of(read_metadata(ULTRALYTICS | {"imgsz": "[96, 224]"}))["fit"] == "squash"


def test_model_api_says_all_but_the_order_of_the_channels() -> None:
    metadata = {
        "model_info labels": "cat big_dog",
        "model_info mean_values": "127.5 127.5 127.5",
        "model_info scale_values": "255 255 255",
        "model_info resize_type": "fit_to_window_letterbox",
        "model_info interpolation_mode": "CUBIC",
        "model_info pad_value": "114",
        "model_info reverse_input_channels": "True",
        "model_info multilabel": "True",
    }

    assert values_of(read_metadata(metadata)) == {
        "labels": ("cat", "big_dog"),
        "activation": "sigmoid",
        "fit": "letterbox",
        "crop_fraction": 1.0,
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (1.0, 1.0, 1.0),
        "pad_value": 114,
        "is_antialiased": False,
    }
    # Fills one side alone, which no recipe does.
    assert "fit" not in values_of(read_metadata(metadata | {"model_info resize_type": "fit_to_window"}))


def test_paddle_says_the_labels() -> None:
    assert values_of(read_metadata({"character": "0\n90\n180\n270"})) == {"labels": ("0", "90", "180", "270")}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (ULTRALYTICS | {"task": "detect"}, "the task 'detect'"),
        (ULTRALYTICS | {"names": "__import__('os').abort()"}, "cannot be read"),
        (ULTRALYTICS | {"names": "{0: 'a', 2: 'b'}"}, "class numbers"),
        ({"model_info hierarchical": "True"}, "hierarchical"),
        ({"lightbox.recipe": "{}", "lightbox.labels": "[]", "lightbox.score_kind": "x"}, "cannot be read"),
    ],
)
def test_metadata_of_other_tasks_and_damaged_ones_are_refused(metadata: dict[str, str], reason: str) -> None:
    with pytest.raises(ModelLoadError, match=reason):
        read_metadata(metadata)
