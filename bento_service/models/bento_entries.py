"""Entries of a BentoML model store as Lightbox writes them: created whole or not at all, deleted, locked.

`stored_files` reads them.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bento_service.domain.model_names import is_preparable
from bento_service.domain.models import ModelCard
from bento_service.errors import ModelLoadError
from bento_service.models.stored_files import FILE_FORMAT, bento_name, let_others_read

if TYPE_CHECKING:
    from bentoml._internal.models.model import ModelStore

PREPARE_ELSEWHERE = (
    "Prepare it with `lightbox models prepare` where Lightbox is installed with the extra `torch`, and name that "
    "machine's model store in LIGHTBOX_MODEL_STORE; in a container, mount it at /models."
)


def find_own_root() -> Path:
    """Return the folder of BentoML's own store: `$BENTOML_HOME/models`, or a bento's own inside of one."""
    home = os.environ.get("BENTOML_HOME", "~/bentoml")
    if "bentoml" not in sys.modules and "${" not in home:  # which BentoML expands
        # As BentoML has it, without the second that importing it takes.
        return Path(home).expanduser() / "models"
    # Within BentoML the store may be a bento's own. There is no public API for it; bentoml is pinned.
    from bentoml._internal.configuration.containers import BentoMLContainer

    return Path(BentoMLContainer.model_store.get()._path)


@contextlib.contextmanager
def create_entry(root: Path, card: ModelCard, prefix: str, **recorded: bool) -> Iterator[Path]:
    """Yield a temporary folder, and store what is in it at the end; nothing if an exception leaves the block.

    `recorded` goes into BentoML's record beside the name and the format.

    Raises:
        ModelLoadError: The store cannot be written; an entry that is to be replaced stays as it was.
    """
    # BentoML reports each model that it stores, over the network: off, unless an operator turns it on.
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    import bentoml

    name = bento_name(card.name, prefix)
    home, former = root / name / card.version, root / f".{name}-{card.version}.former"
    metadata: dict[str, Any] = {"name": card.name, "file_format": FILE_FORMAT, **recorded}
    tag = f"{name}:{card.version}"
    shutil.rmtree(former, ignore_errors=True)
    try:
        with bentoml.models.create(tag, metadata=metadata, _model_store=_open_store(root)) as model:
            folder = Path(model.path)
            yield folder
            model.info.metadata["file_bytes"] = {file.name: file.stat().st_size for file in folder.iterdir()}
            # BentoML stores it as it leaves this block, where there must be none of this tag.
            if home.exists():
                home.rename(former)
        let_others_read(home)
    except BaseException as error:
        if former.exists():
            shutil.rmtree(home, ignore_errors=True)
            former.rename(home)
        if not isinstance(error, OSError):
            raise
        raise ModelLoadError(
            f"{card.name}:{card.version} cannot be written to the model store {root}: {_explain(error)}. What was "
            "there is as it was.",
            model=card.name,
        ) from error
    shutil.rmtree(former, ignore_errors=True)


def delete_entry(root: Path, name: str, version: str, prefix: str) -> None:
    """Delete a version of a model, or of its torch program; raises `ModelLoadError` where it cannot be."""
    try:
        # BentoML's way, which also keeps its record of the latest version right.
        _open_store(root).delete(f"{bento_name(name, prefix)}:{version}")
    except OSError as error:
        raise ModelLoadError(
            f"{name}:{version} cannot be removed from the model store {root}: {_explain(error)}.", model=name
        ) from error


@contextlib.contextmanager
def lock_entries(root: Path, name: str) -> Iterator[None]:
    """Hold a lock between processes that write versions of this model; raises `ModelLoadError` where nothing can be."""
    from filelock import FileLock

    lock = FileLock(root / f".{bento_name(name)}.lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        denied = f"nothing can be written to the model store {root}: {_explain(error)}."
        if is_preparable(name):
            raise ModelLoadError(
                f"The model {name!r} is not prepared, and {denied} {PREPARE_ELSEWHERE}", model=name
            ) from error
        raise ModelLoadError(
            f"{name!r} cannot be imported or removed: {denied} Name a folder that you may write to in "
            "LIGHTBOX_MODEL_STORE; in a container, mount one at /models, and run it as its owner (`--user`).",
            model=name,
        ) from error
    try:
        yield
    finally:
        lock.release()


def _explain(error: OSError) -> str:
    """Return the reason of an error; one that copies a folder has a list of them."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return error.strerror or str(error)


def _open_store(root: Path) -> "ModelStore":
    from bentoml._internal.models.model import ModelStore

    return ModelStore(root)
