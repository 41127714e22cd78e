"""Which image files the arguments of `lightbox classify` mean."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif"}
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files in the order of the arguments, each once, and a sentence for each argument that gave none."""

    paths: tuple[Path, ...]
    problems: tuple[str, ...]


def find_images(arguments: Sequence[str]) -> Inputs:
    """Expand files, folders and patterns.

    A file is taken whatever its name. A folder is searched with everything below it for names that end like an image;
    hidden files and folders are passed over. A pattern may use `*`, `?`, `[…]` and `**`; quoted or expanded by the
    shell, it means the same.
    """
    paths: dict[Path, None] = {}
    problems: list[str] = []
    for argument in arguments:
        try:
            paths.update(dict.fromkeys(_expand(argument)))
        except _NothingFoundError as error:
            problems.append(str(error))
    return Inputs(tuple(paths), tuple(problems))


class _NothingFoundError(Exception):
    pass


def _expand(argument: str) -> list[Path]:
    path = Path(argument)
    if path.exists():
        return _take(path)
    if not glob.has_magic(argument):
        raise _NothingFoundError(f"{argument}: no such file or folder")
    matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]  # noqa: PTH207 - takes absolute patterns too
    files = [file for match in matches for file in (_walk(match) if match.is_dir() else [match])]
    if not files:
        raise _NothingFoundError(f"{argument}: no image file matches this pattern")
    return files


def _take(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = list(_walk(path))
    if not files:
        raise _NothingFoundError(f"{path}: no image file in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            # A link may lead back up; what it points to is found where it lies.
            if not entry.is_symlink():
                yield from _walk(entry)
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            yield entry
