"""Files from outside that do harm: each is refused with a reason, and this process stays as it is."""

import os
import time
import zipfile
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bento_service.errors import ModelLoadError
from bento_service.preparation.confinement import Limits, run_confined
from bento_service.preparation.onnx_file import MAX_FILE_BYTES, find_onnx_file, read_onnx
from bento_service.preparation.onnx_import import inspect_onnx
from tests.fakes.onnx_graphs import make_classifier, save

GIB = 2**30


def _ask_for_16_gib() -> onnx.ModelProto:
    """Return 8 kB that ask for 16 GiB."""
    nodes = [
        helper.make_node("ConstantOfShape", ["huge"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["scores", "zero"], ["sum"]),
    ]
    model = make_classifier(further=nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**32], np.int64), "huge"))
    model.graph.output[0].name = "sum"
    return model


def _loop_for_ever() -> onnx.ModelProto:
    flag = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    out = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    value = helper.make_tensor_value_info("value", TensorProto.FLOAT, ["n", 3])
    same = helper.make_tensor_value_info("same", TensorProto.FLOAT, ["n", 3])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["value"], ["same"])],
        "body",
        [turn, flag, value],
        [out, same],
    )
    model = make_classifier(further=[helper.make_node("Loop", ["turns", "true", "scores"], ["end"], body=body)])
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "turns"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    model.graph.output[0].name = "end"
    return model


def test_a_file_that_asks_for_16_gib_is_refused_and_the_caller_stays_small(tmp_path: Path) -> None:
    path = save(_ask_for_16_gib(), tmp_path / "huge.onnx")
    before_bytes = psutil.Process().memory_info().rss

    with pytest.raises(ModelLoadError, match=r"'huge.onnx' was refused: it takes more memory than the \d.\d GiB"):
        inspect_onnx(path)

    assert psutil.Process().memory_info().rss - before_bytes < 20_000_000


def test_an_endless_loop_is_refused_and_ended_where_it_is_trusted(tmp_path: Path) -> None:
    path = save(_loop_for_ever(), tmp_path / "loop.onnx")
    trusted = {"path": str(path), "hints": {"allow_any_operator": True}}
    started_s = time.monotonic()

    with pytest.raises(ModelLoadError, match=r"has Loop, .* `--allow-any-operator`"):
        read_onnx(path)
    with pytest.raises(ModelLoadError, match="was not loaded and run within 3 s"):
        run_confined("inspect", trusted, Limits(3 * GIB, wall_s=3), subject=path.name)

    assert time.monotonic() - started_s < 20


def test_operators_of_others_are_refused(tmp_path: Path) -> None:
    other: NodeProto = helper.make_node("Secret", ["scores"], ["more"], domain="com.example")
    path = save(make_classifier(further=[other]), tmp_path / "other.onnx")

    with pytest.raises(ModelLoadError, match=r"not ONNX's own \(com.example.Secret\)"):
        read_onnx(path)
    assert len(read_onnx(path, allow_any_operator=True).graph.node) == 6


def _save_with_external_data(path: Path, location: str) -> Path:
    model = make_classifier()
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../secret.bin", "'../secret.bin', which is refused"),
        ("a/../../secret.bin", "which is refused"),
        ("/etc/hostname", "'/etc/hostname', which is refused"),
        ("", "which is refused"),
        ("link.bin", "which is a link"),
        ("linked/secret.bin", "which is a link"),
        ("none.bin", "are missing"),
        ("large.bin", "10,000,000,"),
    ],
)
def test_external_data_outside_the_folder_are_refused(tmp_path: Path, location: str, message: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(144))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "linked").symlink_to(tmp_path)
    with (folder / "large.bin").open("wb") as large:
        large.truncate(10_000_000_000)
    path = _save_with_external_data(folder / "m.onnx", location)

    with pytest.raises(ModelLoadError, match=message):
        read_onnx(path)


def test_external_data_of_the_folder_are_read_into_the_model(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "weights.bin").write_bytes(np.arange(36, dtype=np.float32).tobytes())
    path = _save_with_external_data(tmp_path / "m.onnx", "parts/weights.bin")

    weights = next(tensor for tensor in read_onnx(path).graph.initializer if tensor.name == "weights")

    assert numpy_helper.to_array(weights)[-1, -1] == 35


def test_ten_gigabytes_of_zeros_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "zeros.onnx"
    with path.open("wb") as zeros:
        zeros.truncate(10_000_000_000)

    with pytest.raises(ModelLoadError, match=f"10,000,000,000 bytes; .* between 1 and {MAX_FILE_BYTES:,}"):
        find_onnx_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello, world", "is no ONNX file"),
        (b"\x08\x08", "it has no operator"),
        (b"\x89HDF\r\n", r"HDF5 file \(Keras\)"),
    ],
)
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)

    with pytest.raises(ModelLoadError, match=message):
        read_onnx(path)


def test_an_archive_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.onnx", bytes(1_000_000))

    with pytest.raises(ModelLoadError, match="is a ZIP archive, not an ONNX file"):
        read_onnx(path)


def test_a_folder_must_have_one_onnx_file(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="it has none"):
        find_onnx_file(tmp_path)
    first = save(make_classifier(), tmp_path / "a.onnx")
    assert find_onnx_file(tmp_path).path == first
    save(make_classifier(), tmp_path / "b.onnx")
    with pytest.raises(ModelLoadError, match=r"it has a.onnx, b.onnx: name one"):
        find_onnx_file(tmp_path)


def test_a_pipe_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")

    with pytest.raises(ModelLoadError, match="is no regular file"):
        find_onnx_file(tmp_path / "m.onnx")


def test_an_old_opset_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    path = save(make_classifier(opset=6), tmp_path / "m.onnx")

    with pytest.raises(ModelLoadError, match=r"has opset 6; Lightbox reads 7 and later.*version_converter"):
        read_onnx(path)


def test_limits_grow_with_the_file_and_shrink_with_the_machine() -> None:
    small, large = Limits.of_file(1_000_000, 64 * GIB), Limits.of_file(500_000_000, 64 * GIB)

    assert small.memory_bytes < large.memory_bytes < 8 * GIB
    assert small.wall_s < large.wall_s < 60
    assert Limits.of_file(500_000_000, 2 * GIB).memory_bytes < 2 * GIB
