"""Why a file cannot be written, where SQLite says only that it cannot be opened."""

import os
import stat
from pathlib import Path

_WRITE_IN = os.W_OK | os.X_OK


def find_obstacle(file: Path) -> str | None:
    """Say what keeps this process from writing a SQLite file, and what to do; None where its permissions do not.

    SQLite makes files beside its own, so its folder has to be writable too.
    """
    folder = file.parent
    try:
        if not folder.is_dir():
            existing = next(parent for parent in folder.parents if parent.is_dir())
            return None if _may(existing, _WRITE_IN) else f"The folder {folder} is missing, and {_describe(existing)}"
        if not _may(folder, _WRITE_IN):
            return f"The folder {_describe(folder)}"
        if file.exists() and not _may(file, os.R_OK | os.W_OK):
            return f"The file {_describe(file)}"
    # What this process may not even look at, is not its to explain.
    except OSError:
        return None
    return None


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _describe(path: Path) -> str:
    found = path.stat()
    user = os.geteuid()
    mode = f"{stat.S_IMODE(found.st_mode):03o}"
    if found.st_uid == user:
        return (
            f"{path} is not writable, though it belongs to this process's user {user}: its mode is {mode}, "
            "or its file system is read-only. Change that, or set another LIGHTBOX_DATA_DIR."
        )
    return (
        f"{path} belongs to user {found.st_uid} (mode {mode}), while this process runs as user {user}, who "
        f"may not write there. Run it as user {found.st_uid} (`docker run --user`), give the folder to this one "
        f"(`chown -R {user}`), or set another LIGHTBOX_DATA_DIR."
    )
