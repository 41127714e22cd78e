import json
from pathlib import Path
from typing import Any

import pytest

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.hugging_face import read_folder
from tests.unit.preparation.sources.test_onnx_metadata import values_of

NORMALISED = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
VIT = {**NORMALISED, "size": {"height": 224, "width": 200}, "resample": 2, "rescale_factor": 1 / 255}
CLIP = {
    **NORMALISED,
    "size": {"shortest_edge": 256},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "resample": 3,
}
CONVNEXT = {
    **NORMALISED,
    "image_processor_type": "ConvNextImageProcessor",
    "size": {"shortest_edge": 224},
    "crop_pct": 0.875,
}


def read(folder: Path, processor: dict[str, Any], config: dict[str, Any] | None = None) -> dict[str, object]:
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "config.json").write_text(json.dumps(config or {}))
    return values_of(read_folder(folder))


def test_a_vit_squashes_and_a_clip_crops(tmp_path: Path) -> None:
    squashed = read(tmp_path, VIT)
    cropped = read(tmp_path, CLIP)

    assert squashed == {
        "size": (224, 200),
        "fit": "squash",
        "interpolation": "bilinear",
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
        "channels": "rgb",
    }
    assert {name: cropped[name] for name in ("size", "fit", "crop_fraction", "interpolation")} == {
        "size": (224, 224),
        "fit": "crop",
        "crop_fraction": 0.875,
        "interpolation": "bicubic",
    }


@pytest.mark.parametrize(("short_side", "fit"), [(224, "crop"), (384, "squash")])
def test_a_convnext_crops_below_384_pixels(tmp_path: Path, short_side: int, fit: str) -> None:
    found = read(tmp_path, CONVNEXT | {"size": {"shortest_edge": short_side}})

    assert (found["size"], found["fit"], found["crop_fraction"]) == ((short_side, short_side), fit, 0.875)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"size": 224}, ("size", "fit")),  # means another thing in each class of processors
        ({"resample": 5}, ("interpolation",)),  # Hamming
        ({"image_std": None}, ("mean", "std")),
        ({"rescale_offset": True}, ("mean", "std")),
        ({"do_center_crop": True, "crop_size": {"height": 200, "width": 200}}, ("fit",)),
    ],
)
def test_what_a_processor_does_not_say_is_not_guessed(
    tmp_path: Path, changes: dict[str, Any], missing: tuple[str, ...]
) -> None:
    assert not set(missing) & read(tmp_path, VIT | changes).keys()


def test_normalisation_is_for_pixels_in_0_to_1_whatever_the_scale(tmp_path: Path) -> None:
    raw = read(tmp_path, VIT | {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [255.0] * 3})
    bare = read(tmp_path, VIT | {"do_normalize": False})

    assert (raw["mean"], raw["std"]) == ((0.5,) * 3, (1.0,) * 3)
    assert (bare["mean"], bare["std"]) == ((0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    ("config", "labels", "activation"),
    [
        ({"id2label": {"1": "dog", "0": "cat"}}, ("cat", "dog"), "softmax"),
        (
            {"id2label": {"0": "cat", "1": "dog"}, "problem_type": "multi_label_classification"},
            ("cat", "dog"),
            "sigmoid",
        ),
        ({"id2label": {"0": "nsfw"}}, ("nsfw",), "sigmoid"),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, None, "softmax"),
    ],
)
def test_labels_and_activation_are_those_of_transformers_pipeline(
    tmp_path: Path, config: dict[str, Any], labels: tuple[str, ...] | None, activation: str
) -> None:
    found = read(tmp_path, VIT, config)

    assert (found.get("labels"), found["activation"]) == (labels, activation)


def test_the_licence_is_in_the_model_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\ntags: [a]\n---\n# A model\n")

    assert read(tmp_path, VIT)["licence"] == "mit"


def test_timms_configuration_says_everything(tmp_path: Path) -> None:
    config = {
        "architecture": "resnet18",
        "label_names": ["n1", "n2"],
        "label_descriptions": {"n1": "ant"},
        "pretrained_cfg": {
            "input_size": [1, 64, 96],
            "crop_mode": "border",
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": [0.5],
            "std": [0.25],
            "license": "apache-2.0",
        },
    }

    assert read(tmp_path, {}, config) == {
        "labels": ("ant", "n2"),
        "licence": "apache-2.0",
        "size": (64, 96),
        "fit": "letterbox",
        "crop_fraction": 1.0,
        "interpolation": "bicubic",
        "mean": (0.5,),
        "std": (0.25,),
        "channels": "grey",
        "pad_value": 128,
    }


@pytest.mark.parametrize("text", ["[", "[1]", '{"id2label": ["cat"]}', "[" * 100_000])
def test_a_damaged_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(ModelLoadError, match=r"config\.json cannot be read"):
        read_folder(tmp_path)
