import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.discovery import (
    OnnxSource,
    Source,
    TimmFolder,
    TransformersFolder,
    Weights,
    find_source,
)

ONNX = b"\x08\x08"
SAFETENSORS = (2).to_bytes(8, "little") + b"{}" + b"0" * 8


def write(path: Path, content: bytes = ONNX) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_zip(path: Path, *names: str, content: bytes = b"{}") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, content)


def labels_of(source: Source) -> tuple[str, ...] | None:
    labels = source.found.facts.labels
    return labels.value if labels else None


@pytest.mark.parametrize("name", ["model.onnx", "model.bytes"])
def test_an_onnx_file_is_known_by_its_content_or_its_name(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)

    assert isinstance(find_source(tmp_path / name), OnnxSource)


def test_a_folder_with_one_onnx_file_has_its_labels_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "model.onnx")
    write(tmp_path / "labels.txt", b"0 cat\n1 dog\n")

    assert labels_of(find_source(tmp_path)) == ("cat", "dog")
    assert labels_of(find_source(tmp_path / "model.onnx")) is None  # the file is asked for, not the folder
    write(tmp_path / "other.onnx")
    with pytest.raises(ModelLoadError, match=r"several ONNX files: model\.onnx, other\.onnx"):
        find_source(tmp_path)


def test_tritons_highest_version_is_taken_with_the_labels_of_its_configuration(tmp_path: Path) -> None:
    for version in ("2", "10"):
        write(tmp_path / version / "model.onnx")
    write(tmp_path / "names.txt", b"cat\ndog\n")
    (tmp_path / "config.pbtxt").write_text('output [{ name: "y" label_filename: "names.txt" }]')

    source = find_source(tmp_path)

    assert source.path == tmp_path / "10" / "model.onnx"
    assert labels_of(source) == ("cat", "dog")


def test_mlflows_onnx_flavour_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "data" / "it.onnx")
    (tmp_path / "MLmodel").write_text("flavors:\n  onnx:\n    data: data/it.onnx\n")

    assert find_source(tmp_path).path == tmp_path / "data" / "it.onnx"


@pytest.mark.parametrize("name", ["../secret.onnx", "/etc/hostname"])
def test_a_description_names_no_file_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    write(tmp_path / "secret.onnx")
    folder.mkdir()
    (folder / "MLmodel").write_text(f"flavors:\n  onnx:\n    data: {name}\n")

    with pytest.raises(ModelLoadError, match="outside of that folder"):
        find_source(folder)


def test_a_hugging_face_folder_needs_no_pytorch_where_it_has_onnx(tmp_path: Path) -> None:
    config = {"architectures": ["ViTForImageClassification"], "id2label": {"0": "cat", "1": "dog"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    write(tmp_path / "model.safetensors", SAFETENSORS)

    assert isinstance(find_source(tmp_path), TransformersFolder)
    write(tmp_path / "onnx" / "model.onnx")
    assert find_source(tmp_path).path == tmp_path / "onnx" / "model.onnx"
    assert labels_of(find_source(tmp_path)) == ("cat", "dog")


def test_a_timm_folder_is_known_by_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "resnet18", "pretrained_cfg": {}}')

    with pytest.raises(ModelLoadError, match="no weights"):
        find_source(tmp_path)
    write(tmp_path / "model.safetensors", SAFETENSORS)
    assert isinstance(find_source(tmp_path), TimmFolder)
    assert isinstance(find_source(tmp_path, has_arch=True), Weights)


def test_a_state_dict_of_tensors_alone_is_weights(tmp_path: Path) -> None:
    write(tmp_path / "w.pth", pickle.dumps(OrderedDict(), protocol=2))

    assert isinstance(find_source(tmp_path / "w.pth"), Weights)
    assert isinstance(find_source(tmp_path), Weights)


def write_foreign_pickle(path: Path) -> None:
    write(path, pickle.dumps(Path("x"), protocol=4))


@pytest.mark.parametrize(
    ("name", "make", "what", "line"),
    [
        ("model.pt", write_foreign_pickle, r"a pickled model.*pathlib", "torch.onnx.export(model"),
        ("m.mar", lambda path: write_zip(path, "MAR-INF/MANIFEST.json"), "TorchServe", "torch.onnx.export(model"),
        ("s.pt", lambda path: write_zip(path, "s/constants.pkl", "s/data.pkl"), "TorchScript", "torch.jit.load("),
        ("p.pt2", lambda path: write_zip(path, "p/archive_format"), "torch.export", "torch.export.load("),
        ("m.keras", lambda path: write_zip(path, "config.json", "model.weights.h5"), "Keras", 'format="onnx"'),
        ("renamed.onnx", lambda path: write(path, b"\x89HDF\r\n\x1a\n"), "Keras", 'format="onnx"'),
        ("m.tflite", lambda path: write(path, b"\x1c\0\0\0TFL3"), "TensorFlow Lite", "tf2onnx.convert --tflite"),
        ("m.joblib", lambda path: write(path, b"x\x9cabc"), "joblib", "to_onnx(model"),
        ("sm/saved_model.pb", write, "SavedModel", "tf2onnx.convert --saved-model"),
    ],
)
def test_a_format_that_is_not_loaded_is_named_with_the_lines_that_export_onnx(
    tmp_path: Path, name: str, make: Callable[[Path], None], what: str, line: str
) -> None:
    path = tmp_path / name
    make(path)

    with pytest.raises(ModelLoadError, match=what) as refusal:
        find_source(path.parent if name.startswith("sm/") else path)

    assert line in refusal.value.message
    assert len(refusal.value.message.splitlines()) == 4


def test_fastais_export_is_told_apart_by_the_names_in_its_pickle(tmp_path: Path) -> None:
    write_zip(tmp_path / "export.pkl", "x/data.pkl", content=b"\x80\x02cfastai.learner\nLearner\n.")

    with pytest.raises(ModelLoadError, match=r"fastai's export\.pkl") as refusal:
        find_source(tmp_path / "export.pkl")
    assert "load_learner" in refusal.value.message


def test_of_a_zip_with_a_directory_of_gigabytes_no_more_than_some_megabytes_are_read(tmp_path: Path) -> None:
    directory_bytes = 3 * 2**30
    with (tmp_path / "model.pt").open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(4 + directory_bytes)
        file.seek(0, 2)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, directory_bytes, 4, 0))

    with pytest.raises(ModelLoadError, match=r"cannot be read: its directory has 3,221,225,472 bytes, and at most"):
        find_source(tmp_path / "model.pt")


def test_code_in_a_hugging_face_folder_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["X"], "auto_map": {"AutoModel": "x.X"}}')

    with pytest.raises(ModelLoadError, match="trust_remote_code"):
        find_source(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "is empty"), (b"hello", "of no format"), (b"PK\x03\x04broken", "cannot be read")]
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    write(tmp_path / "file", content)

    with pytest.raises(ModelLoadError, match=reason):
        find_source(tmp_path / "file")
    with pytest.raises(ModelLoadError, match="no file, folder or BentoML tag"):
        find_source(tmp_path / "nowhere")
