"""Image files that the arguments of a subcommand name."""

import glob
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from errno import ENAMETOOLONG
from pathlib import Path

from bento_service.domain.file_names import to_line
from bento_service.images.formats import IMAGE_SUFFIXES

MAX_FILE_BYTES = 1_000_000_000
"""Files are read into memory, several at a time; no service takes one as large."""
_ANY_DEPTH = re.compile(r"(?:^|(?<=/))\*\*(?:/+|$)")
_OWN_PIPES = ("/proc/", "/dev/fd/")
"""Where the pipes that this process was given are found: on Linux, and on macOS."""
_SHOWN_CHARS = 60
"""How much of an argument is shown that is too long for a path."""

Complain = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files in the order of the arguments, each once, and a line for each argument or file that cannot be used."""

    paths: tuple[Path, ...]
    problems: tuple[str, ...]


def find_images(arguments: Sequence[str]) -> Inputs:
    """Expand files, folders and patterns.

    A file may have any name. A folder is searched recursively for names with an image's suffix, without hidden files
    and folders. Links to folders are not followed, since they may lead back up. A pattern may use `*`, `?`, `[…]` and
    `**`, with the same result whether the shell expands it or not.
    """
    paths: dict[Path, None] = {}
    problems: dict[str, None] = {}
    for argument in arguments:
        reasons: list[str] = []
        found = _expand(argument, reasons.append)
        if not found and not reasons:
            reasons.append(_describe_nothing(argument))
        paths.update(dict.fromkeys(found))
        problems.update(dict.fromkeys(reasons))
    return Inputs(tuple(paths), tuple(problems))


def _expand(argument: str, complain: Complain) -> list[Path]:
    if not argument:
        complain("an argument is empty, as an unset variable makes it; name a file, a folder or a pattern")
        return []
    path = Path(argument)
    try:
        path.stat()
    except OSError as error:
        if glob.has_magic(argument):
            return _match(argument, complain)
        complain(_describe_error(argument, error))
        return []
    return _take(path, complain)


def _describe_error(argument: str, error: OSError) -> str:
    if error.errno == ENAMETOOLONG:
        return f"{to_line(argument[:_SHOWN_CHARS])}…: too long for a path ({len(argument)} characters)"
    if isinstance(error, FileNotFoundError):
        return f"{to_line(argument)}: no such file or folder"
    return f"{to_line(argument)}: {error.strerror}"


def _describe_nothing(argument: str) -> str:
    if os.path.isdir(argument):  # noqa: PTH112 - Path's raises where the argument is too long
        return f"{to_line(argument)}: no image file in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})"
    return f"{to_line(argument)}: no image file matches this pattern"


def _match(pattern: str, complain: Complain) -> list[Path]:
    paths = sorted(set(map(Path, _glob(pattern, complain))))
    if _ANY_DEPTH.search(pattern):
        paths = [path for path in paths if not (os.path.islink(path) and os.path.isdir(path))]  # noqa: PTH112, PTH114 - Path's raise where they may not look
    return [file for path in paths for file in _take(path, complain)]


def _glob(pattern: str, complain: Complain) -> Iterator[str]:
    """Yield the matches of a pattern. `glob.glob` follows links for `**`, without end where two lead upwards."""
    stars = _ANY_DEPTH.search(pattern)
    if stars is None:
        yield from glob.iglob(pattern)  # noqa: PTH207 - takes absolute patterns too
        return
    head, tail = pattern[: stars.start()] or ".", pattern[stars.end() :] or "*"
    for top in filter(os.path.isdir, glob.iglob(head)):  # noqa: PTH207
        for folder, _ in _walk(top, complain):
            yield from _glob(os.path.join(glob.escape(folder), tail), complain)  # noqa: PTH118 - a pattern


def _take(path: Path, complain: Complain) -> list[Path]:
    try:
        status = path.stat()
    except OSError:
        return [path]  # reading it says what is wrong
    if stat.S_ISDIR(status.st_mode):
        return _search(path, complain)
    if not _is_finite(path, status):
        complain(f"{to_line(path)}: neither a file nor a folder, but a device, a named pipe or a socket")
        return []
    if status.st_size > MAX_FILE_BYTES:
        complain(f"{to_line(path)}: too large for an image ({status.st_size:,} bytes; at most {MAX_FILE_BYTES:,})")
        return []
    return [path]


def _is_finite(path: Path, status: os.stat_result) -> bool:
    """Whether the path is a file, or a pipe that this process was given: `<(command)` or /dev/stdin.

    Reading any other pipe may block forever, and a device may have no end.
    """
    is_own_pipe = stat.S_ISFIFO(status.st_mode) and os.path.realpath(path).startswith(_OWN_PIPES)
    return stat.S_ISREG(status.st_mode) or is_own_pipe


def _search(top: Path, complain: Complain) -> list[Path]:
    paths = sorted(Path(entry) for _, entries in _walk(str(top), complain) for entry in entries)
    images = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and not os.path.isdir(path)]  # noqa: PTH112 - Path's raises where it may not look
    return [file for path in images for file in _take(path, complain)]


def _walk(top: str, complain: Complain) -> Iterator[tuple[str, list["os.DirEntry[str]"]]]:
    """Yield each folder with its entries, depth first, without hidden entries and without following links."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not entry.name.startswith(".")]
            waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            complain(f"{to_line(folder)}: {error.strerror}")
            continue
        yield folder, entries
