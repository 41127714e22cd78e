"""Parts of Lightbox that an installation may lack, and the sentence that says how to add one."""

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bento_service.settings import BENTO_PATH

Part = Literal["torch", "transformers", "onnxruntime", "bundled", "dashboard"]


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a part holds and how large it is, for people; whether it is an extra, or belongs to each installation."""

    libraries: str
    size: str
    is_extra: bool


# `du --apparent-size` of environments that uv 0.13 made on Linux x86-64, with the part and without it (November 2026).
# PyTorch for macOS, which has no CUDA, is what uv installs there of the same requirements.
_PARTS: Final[Mapping[Part, _Contents]] = {
    "torch": _Contents("PyTorch, torchvision and timm", "5.4 GB on Linux, 0.7 GB on macOS", is_extra=True),
    "transformers": _Contents("transformers and PyTorch", "0.1 GB beside PyTorch", is_extra=True),
    "onnxruntime": _Contents("ONNX Runtime", "70 MB", is_extra=True),
    "bundled": _Contents("onnx and the weights of the bundled models", "90 MB", is_extra=False),
    "dashboard": _Contents("Streamlit and the dashboard's code", "300 MB", is_extra=False),
}


@dataclass(frozen=True, slots=True)
class Installation:
    """How this Lightbox was installed, which decides how something is added to it.

    Attributes:
        root: The folder that holds `bento_service`: of a checkout, or site-packages.
        prefix: The Python environment.
        has_pip: Whether that has pip, which environments made by uv have not.
        is_container: Whether it is the image of a bento, to which nobody adds anything.
    """

    root: Path
    prefix: Path
    has_pip: bool
    is_container: bool

    def make_line(self, part: Part) -> str:
        """Return the command that adds a part."""
        extra = part if _PARTS[part].is_extra else None
        if (self.root / "Makefile").is_file() and self.prefix.resolve() == (self.root / ".venv").resolve():
            # Of the package, the extra `transformers` includes PyTorch; in a checkout each is a file of its own.
            added = '"torch transformers"' if extra == "transformers" else extra
            return f"make setup EXTRAS={added}" if extra else "make setup"
        return f"{self._install} 'lightbox-serving[{extra}]'" if extra else f"{self._install} lightbox-serving"

    def make_repair_line(self, package: str) -> str:
        """Return the command that installs a package again, in place of its damaged files."""
        return f"{self._install} --force-reinstall --no-deps {package}"

    @property
    def _install(self) -> str:
        if self.has_pip:
            return "pip install"
        # In a checkout, where the user has none, `make setup` installed one that is not on the PATH.
        own = sorted((self.root / ".cache").glob("uv-*/bin/uv"))
        uv = str(own[-1]) if own and shutil.which("uv") is None else "uv"
        return f"{shlex.quote(uv)} pip install --python {shlex.quote(str(self.prefix))}"


def find_installation() -> Installation:
    """Describe the installation that runs this process."""
    return Installation(
        root=Path(__file__).parents[1],
        prefix=Path(sys.prefix),
        has_pip=importlib.util.find_spec("pip") is not None,
        is_container=bool(os.environ.get(BENTO_PATH)),
    )


def explain_missing(subject: str, part: Part, installation: Installation | None = None) -> str:
    """Return the sentence for something that needs a part which is not installed.

    Args:
        subject: What needs it, as the beginning of a sentence: "The engine `torch`".
        part: The part.
        installation: Where it is missing; this process's if None.

    Returns:
        Which part it is, how large on disk, and the command that adds it. An image cannot be added to, so for a
        container it says only what is missing.
    """
    where = installation or find_installation()
    contents = _PARTS[part]
    needed = f"the extra `{part}`, {contents.libraries}" if contents.is_extra else contents.libraries
    if where.is_container:
        return f"{subject} needs {needed}, which this image does not have."
    return f"{subject} needs {needed}, which is not installed ({contents.size}): run `{where.make_line(part)}`."
