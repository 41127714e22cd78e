"""Read the small files beside a model: labels, JSON and YAML that nobody here wrote."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from bento_service.errors import ModelLoadError

MAX_BYTES: Final = 5_000_000
"""ImageNet-21k's labels with their descriptions take 2 MB."""
MAX_YAML_BYTES: Final = 100_000
"""PyYAML takes seconds for each MB."""
_DAMAGE: Final = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    SyntaxError,
    MemoryError,
    RecursionError,
    yaml.YAMLError,
)


@contextlib.contextmanager
def explained_reading(subject: str) -> Iterator[None]:
    """Raise whatever a value of another type, size or depth than expected leads to as a ModelLoadError."""
    try:
        yield
    except _DAMAGE as error:
        raise ModelLoadError(f"{subject} cannot be read: {_explain(error)}.") from error


def read_text(path: Path, *, max_bytes: int = MAX_BYTES) -> str:
    """Return a file's text.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large, or not in UTF-8.
    """
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it has more than {max_bytes:,} bytes")
    return content.decode("utf-8-sig")


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ModelLoadError: It cannot be read, or is no object.
    """
    with explained_reading(str(path)):
        content = json.loads(read_text(path))
        if not isinstance(content, dict):
            raise TypeError("it is no object")
    return content


def find_inside(folder: Path, name: str) -> Path:
    """Return a file or folder in a folder, which links may lead to.

    Raises:
        ModelLoadError: It is outside of the folder, or missing.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ModelLoadError(
            f"{name!r} of {folder} is outside of that folder, which is refused. If it is a link that you trust, copy "
            "the folder with `cp -rL`."
        )
    if not path.is_dir() and not path.is_file():
        raise ModelLoadError(f"{folder} names the file {name!r}, which it does not have.")
    return path


def _explain(error: BaseException) -> str:
    match error:
        case OSError():
            return error.strerror or str(error)
        case ValidationError():
            first = error.errors(include_url=False)[0]
            return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        case KeyError():
            return f"it lacks {error}"
        case RecursionError():
            return "it is nested too deeply"
        case MemoryError():
            return "it is too large"
    return str(error)
