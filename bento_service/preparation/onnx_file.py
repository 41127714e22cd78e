"""Read an ONNX file from outside: its size, its external data, its operators."""

import glob
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bento_service.domain.graph import IR_VERSION
from bento_service.errors import ModelLoadError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

MAX_FILE_BYTES = 2**31 - 1
"""What one ONNX file can hold: protobuf's limit."""
MIN_OPSET = 7
"""The first opset whose arithmetic broadcasts as today's does."""
MAX_OPSET = 26
"""The last opset that both CPU engines read (ONNX Runtime 1.31; OpenVINO 2026.4 reads later ones)."""
_ARCHIVES = {b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "a gzip file", b"\x89HDF": "an HDF5 file (Keras)"}
_LOOPS = frozenset(("Loop", "Scan", "If", "SequenceMap"))
_OWN_DOMAINS = frozenset(("", "ai.onnx"))


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """An ONNX file. `total_bytes` has the other files of its folder in it that may be its external data."""

    path: Path
    total_bytes: int


def find_onnx_file(path: Path) -> OnnxFile:
    """Return the file, or the only one in a folder, without reading it.

    Raises:
        ModelLoadError: There is none or several, or it is empty, too large or no regular file.
    """
    if path.is_dir():
        names = sorted(found.name for found in path.glob("*.onnx"))
        if len(names) != 1:
            found = f"it has {', '.join(names)}: name one of them" if names else "it has none"
            raise ModelLoadError(f"The folder {str(path)!r} must have one file that ends in `.onnx`; {found}.")
        path /= names[0]
    try:
        status = path.stat()
    except OSError as error:
        raise ModelLoadError(f"The file {str(path)!r} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise ModelLoadError(f"{str(path)!r} is no regular file; name an ONNX file.")
    if not 0 < status.st_size <= MAX_FILE_BYTES:
        raise _wrong_size(path.name, status.st_size)
    return OnnxFile(path, status.st_size + _measure_companions(path))


def _measure_companions(path: Path) -> int:
    """Return the bytes of what may be external data of a file, by the names that exporters give them."""
    try:
        files = [found for found in path.parent.glob(f"{glob.escape(path.stem)}*") if found != path and found.is_file()]
        return min(MAX_FILE_BYTES, sum(found.stat().st_size for found in files))
    except OSError:
        return 0


def read_onnx(path: Path, *, allow_any_operator: bool = False) -> "ModelProto":
    """Read a file with its external data, local functions inlined. Call it in a confined process only.

    Raises:
        ModelLoadError: It is no ONNX file or an old one, external data lie outside its folder, it is too large, or it
            has operators that are not allowed.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import inliner

    encoded = path.read_bytes()
    archive = next((name for magic, name in _ARCHIVES.items() if encoded.startswith(magic)), None)
    if archive:
        raise ModelLoadError(f"{path.name!r} is {archive}, not an ONNX file; name the ONNX file itself.")
    try:
        model = onnx.load_model_from_string(encoded)
    except DecodeError as error:
        raise ModelLoadError(f"{path.name!r} is no ONNX file, or a damaged one.") from error
    if not model.graph.node:
        raise ModelLoadError(f"{path.name!r} is no ONNX model: it has no operator.")
    _load_external_data(model, path, len(encoded))
    del encoded
    _check_operators(model, path.name, allow_any_operator=allow_any_operator)
    if model.functions:
        model = inliner.inline_local_functions(model)
    opset = find_opset(model)
    if opset > MAX_OPSET:
        model = _convert_down(model, path.name, opset)
    # Later versions of the format add element types that no classifier has, and ONNX Runtime refuses the newest.
    model.ir_version = min(model.ir_version, IR_VERSION)
    if opset < MIN_OPSET:
        raise ModelLoadError(
            f"{path.name!r} has opset {opset}; Lightbox reads {MIN_OPSET} and later. Export it again, or convert it: "
            "`onnx.version_converter.convert_version(model, 13)`."
        )
    return model


def find_opset(model: "ModelProto") -> int:
    """Return the version of ONNX's own operators, or 1 where none is stated."""
    return max((opset.version for opset in model.opset_import if opset.domain in _OWN_DOMAINS), default=1)


def walk_nodes(graph: "GraphProto") -> "Iterator[NodeProto]":
    """Yield the operators of a graph and of the graphs inside of them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from walk_nodes(inner)


def _convert_down(model: "ModelProto", name: str, opset: int) -> "ModelProto":
    from onnx import version_converter

    try:
        return version_converter.convert_version(model, MAX_OPSET)
    except Exception as error:
        raise ModelLoadError(
            f"{name!r} has opset {opset}; the engines read {MIN_OPSET} to {MAX_OPSET}, and it cannot be converted: "
            f"{error}. Export it with an earlier one, such as `opset_version=20`."
        ) from error


def _load_external_data(model: "ModelProto", path: Path, size_bytes: int) -> None:
    from onnx import external_data_helper

    # It walks attributes, branches and functions too; private, and onnx is pinned.
    tensors = [tensor for tensor in external_data_helper._get_all_tensors(model) if tensor.data_location]
    if not tensors:
        return
    folder = path.parent.resolve()
    total = size_bytes
    for tensor in tensors:
        total += _measure_external(tensor, folder)
    if total > MAX_FILE_BYTES:
        raise _wrong_size(f"{path.name} with its external data", total)
    try:
        external_data_helper.load_external_data_for_model(model, str(folder))
    except Exception as error:
        raise ModelLoadError(f"The external data of {path.name!r} cannot be read: {error}.") from error


def _measure_external(tensor: "TensorProto", folder: Path) -> int:
    """Return the bytes that a tensor takes of its file.

    Raises:
        ModelLoadError: The file is not a plain one inside the folder.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = Path(entries.get("location", ""))
    allowed = "External data must be plain files in the folder of the ONNX file, without links."
    if location.is_absolute() or ".." in location.parts or "\\" in str(location) or not location.parts:
        raise ModelLoadError(f"The tensor {tensor.name!r} lies in {str(location)!r}, which is refused. {allowed}")
    file = folder / location
    if any(part.is_symlink() for part in (file, *file.parents) if part != folder and folder in part.parents):
        raise ModelLoadError(
            f"The tensor {tensor.name!r} lies in {str(location)!r}, which is a link. {allowed} Copy the folder with "
            "`cp -rL`."
        )
    if not file.is_file():
        raise ModelLoadError(f"The external data {str(location)!r} are missing in the folder of the ONNX file.")
    length = entries.get("length", "")
    return int(length) if length.isdecimal() else file.stat().st_size


def _check_operators(model: "ModelProto", name: str, *, allow_any_operator: bool) -> None:
    if allow_any_operator:
        return
    domains = _OWN_DOMAINS | {function.domain for function in model.functions}
    bodies = (node for function in model.functions for node in function.node)
    nodes = (*walk_nodes(model.graph), *bodies)
    loops = sorted({node.op_type for node in nodes if node.op_type in _LOOPS})
    others = sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in domains})
    accept = "If you trust it, accept them with `--allow-any-operator`."
    if loops:
        raise ModelLoadError(
            f"{name!r} has {', '.join(loops)}, with which a graph can run without end; a classifier needs none. "
            f"{accept}"
        )
    if others:
        raise ModelLoadError(
            f"{name!r} has operators that are not ONNX's own ({', '.join(others[:5])}), which not every engine runs. "
            f"{accept}"
        )


def _wrong_size(name: str, size_bytes: int) -> ModelLoadError:
    return ModelLoadError(f"{name!r} has {size_bytes:,} bytes; an ONNX file has between 1 and {MAX_FILE_BYTES:,}.")
