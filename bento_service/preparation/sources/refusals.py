"""Files of other formats: what they are by their content, and the lines that turn them into ONNX.

Formats that run code when they are read (pickle, joblib, Keras's Lambda layers, `trust_remote_code`) are never loaded.
"""

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bento_service.errors import ModelLoadError

_LINES: Final = {
    "torch": """\
import torch
model = ...  # in Python, as you use it: the module itself, with its weights, after model.eval()
torch.onnx.export(model, torch.zeros(1, 3, 224, 224), "model.onnx", dynamo=True, external_data=False)""",
    "torchscript": """\
import torch
model = torch.jit.load("FILE").eval()
torch.onnx.export(model, torch.zeros(1, 3, 224, 224), "model.onnx", dynamo=False)""",
    "torch program": """\
import torch
program = torch.export.load("FILE")
torch.onnx.export(program, dynamo=True, external_data=False).save("model.onnx")""",
    "fastai": """\
import torch; from fastai.learner import load_learner
learner = load_learner("FILE"); open("labels.txt", "w").write("\\n".join(learner.dls.vocab))
torch.onnx.export(learner.model.eval(), torch.zeros(1, 3, 224, 224), "model.onnx", dynamo=True, external_data=False)""",
    "sklearn": """\
import joblib; from skl2onnx import to_onnx
model = joblib.load("FILE")
open("model.onnx", "wb").write(to_onnx(model, example_input).SerializeToString())  # must take an image""",
    "keras": """\
import keras
model = keras.models.load_model("FILE")
model.export("model.onnx", format="onnx")""",
    "saved model": """\
pip install tf2onnx
python -m tf2onnx.convert --saved-model FILE --output model.onnx --opset 17
lightbox models import model.onnx --name NAME --labels labels.txt""",
    "tflite": """\
pip install tf2onnx
python -m tf2onnx.convert --tflite FILE --output model.onnx --opset 17
lightbox models import model.onnx --name NAME --labels labels.txt""",
    "transformers": """\
from optimum.exporters.onnx import main_export
main_export("FILE", output="exported", task="image-classification", trust_remote_code=True)  # runs the folder's code
# then: lightbox models import exported --name NAME""",
}
_SAFE_GLOBALS: Final = ("collections OrderedDict", "torch._utils _rebuild_", "torch Size", "torch device")
_SAFE_ENDING: Final = "Storage"
_LIBRARY_NAMES: Final = ("__builtin__", "builtins", "collections", "torch.nn", "torch._", "numpy", "_codecs")
"""Of a pickled model's objects, those that tell least about whose it is."""
_MAX_PICKLE_BYTES: Final = 3_000_000
"""Names stand before the tensors' bytes. Ten times as much takes half a minute, and a gigabyte of memory."""
_MAX_ZIP_READ_BYTES: Final = 8_000_000
"""Of a ZIP's directory, which is read whole: about a hundred bytes for each tensor."""
_ZIP, _HDF5, _TFLITE = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"TFL3"


def refuse(path: Path, what: str, lines: str, why: str = "") -> ModelLoadError:
    """Return the error for a format that is not loaded, with the three lines that export ONNX from it."""
    exported = _LINES[lines].replace("FILE", str(path))
    indented = "\n".join(f"    {line}" for line in exported.splitlines())
    return ModelLoadError(
        f"{path} is {what}, which Lightbox does not load{f': {why}' if why else ''}. Export it to ONNX where its own "
        f"library is installed, with the size and the channels that it takes, and import the file:\n{indented}"
    )


def refuse_foreign_file(path: Path) -> None:
    """Refuse a file that is of a known format which is not imported. Reads its beginning, or a ZIP's directory.

    Raises:
        ModelLoadError: It is; the message has the lines that export ONNX.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(_HDF5):
        raise refuse(path, "a Keras file (HDF5)", "keras", "its layers may hold code")
    if start[4:8] == _TFLITE:
        raise refuse(path, "a TensorFlow Lite file", "tflite")
    if start.startswith(_ZIP):
        _refuse_foreign_zip(path)
    elif start[:1] == b"\x80" and start[1:2] <= b"\x05":
        with path.open("rb") as file:
            _refuse_pickled_objects(path, file.read(_MAX_PICKLE_BYTES))
    elif start.startswith((b"x\x9c", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) or path.suffix == ".joblib":
        raise refuse(path, "a compressed file, such as joblib's", "sklearn", "it may run any code when it is read")


def refuse_foreign_folder(path: Path) -> None:
    """Refuse a folder of TensorFlow's.

    Raises:
        ModelLoadError: It is one; the message has the lines that export ONNX.
    """
    if (path / "saved_model.pb").is_file():
        raise refuse(path, "a TensorFlow SavedModel", "saved model")


class _BoundedFile(io.FileIO):
    """A file of which one call reads a bounded number of bytes: a ZIP's end may state a directory of gigabytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_ZIP_READ_BYTES:
            raise zipfile.BadZipFile(f"its directory has {size:,} bytes, and at most {_MAX_ZIP_READ_BYTES:,} are read")
        return super().read(_MAX_ZIP_READ_BYTES if size is None or size < 0 else size) or b""


def _refuse_foreign_zip(path: Path) -> None:
    try:
        with _BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            pickles = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
            if "MAR-INF/MANIFEST.json" in names:
                raise refuse(path, "a TorchServe archive (.mar)", "torch", "its handler is code")
            if "model.weights.h5" in names and "config.json" in names:
                raise refuse(path, "a Keras file", "keras", "its layers may hold code")
            if any(name.endswith("constants.pkl") for name in names):
                raise refuse(path, "a TorchScript program", "torchscript", "it is code")
            if any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names):
                raise refuse(path, "a program of torch.export", "torch program")
            if not pickles:
                raise ModelLoadError(
                    f"{path} is a ZIP archive and no model: unpack it, and import the file or folder in it."
                )
            with archive.open(pickles[0]) as pickled:
                _refuse_pickled_objects(path, pickled.read(_MAX_PICKLE_BYTES))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelLoadError(f"{path} cannot be read: {error}.") from error


def _refuse_pickled_objects(path: Path, content: bytes) -> None:
    """Refuse a pickle that names anything but tensors. Its names are read without running it."""
    names = set(_read_globals(content))
    foreign = sorted(name for name in names if not name.startswith(_SAFE_GLOBALS) and not name.endswith(_SAFE_ENDING))
    if not foreign:
        return
    shown = min(foreign, key=lambda name: name.startswith(_LIBRARY_NAMES)).replace(" ", ".")
    why = f"it holds Python objects ({shown}), and reading them can run any code"
    if any(name.startswith("fastai") for name in foreign):
        raise refuse(path, "fastai's export.pkl", "fastai", why)
    if any(name.startswith(("sklearn", "joblib", "xgboost", "lightgbm")) for name in foreign):
        raise refuse(path, "a pickled scikit-learn model", "sklearn", why)
    raise refuse(path, "a pickled model", "torch", why)


def _read_globals(content: bytes) -> Iterator[str]:
    """Yield the names that a pickle imports, as `module name`, in all pickles that follow each other in the file."""
    stream = io.BytesIO(content)
    pushed, memo = list[str](), dict[int, str]()
    try:
        while stream.tell() < len(content):
            for opcode, argument, _ in pickletools.genops(stream):
                match opcode.name:
                    case "GLOBAL" | "INST":
                        yield str(argument)
                    case "STACK_GLOBAL":
                        yield " ".join(pushed[-2:])
                    case "MEMOIZE":
                        memo[len(memo)] = pushed[-1] if pushed else ""
                    case "BINPUT" | "LONG_BINPUT" | "PUT" if isinstance(argument, int):
                        memo[argument] = pushed[-1] if pushed else ""
                    case "BINGET" | "LONG_BINGET" | "GET" if isinstance(argument, int):
                        pushed.append(memo.get(argument, ""))
                    case _ if isinstance(argument, str):
                        pushed.append(argument)
    except (ValueError, AttributeError, EOFError):
        return  # the storages' bytes, after the pickles of an old file; or damage, which the reader reports
