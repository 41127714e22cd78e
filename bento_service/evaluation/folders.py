"""Folders of labelled photographs: a subfolder for each class, named by its label or its class id."""

import itertools
import os
import re
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bento_service.errors import WrongFactsError
from bento_service.images.formats import IMAGE_SUFFIXES

_SEPARATORS = re.compile(r"[\s_/-]+")
_WORDNET_ID = re.compile(r"n\d{8}")
_NAMED = 5
"""Folders and labels in the message of an error, at most."""
_MAP_HINT = "`--labels-map FILE` gives folders other names."
_RENAME_HINT = "Give the folders those names."


@dataclass(frozen=True, slots=True)
class Photograph:
    """A labelled photograph."""

    path: str
    class_id: int


@dataclass(frozen=True, slots=True)
class LabelledFolder:
    """A folder's photographs, sorted by class id and path, and the class id of each subfolder by its name.

    `ignored` counts what has no image's suffix, is no regular file, or lies beside the subfolders.
    """

    photographs: tuple[Photograph, ...]
    classes: Mapping[str, int]
    ignored: int


def find_photographs(folder: Path, labels: Sequence[str], names: Mapping[str, str] | None = None) -> LabelledFolder:
    """Return the image files of a folder that has a subfolder for each class, at any depth in it.

    Hidden files and folders are left out, and links to folders are followed at the top only.

    Args:
        folder: The folder.
        labels: The model's labels by class id.
        names: Labels or class ids by the subfolder's name, for subfolders that are named otherwise; None where the
            caller takes no such names, and errors suggest none.

    Raises:
        WrongFactsError: A subfolder is no class, or could be several, or there is no photograph.
    """
    try:
        entries = sorted(found for found in folder.iterdir() if not found.name.startswith("."))
        subfolders = [found for found in entries if found.is_dir()]
    except OSError as error:
        raise WrongFactsError(f"The photographs {str(folder)!r} cannot be read: {error.strerror}.") from error
    classes = _match(folder, [found.name for found in subfolders], labels, names)
    photographs: list[Photograph] = []
    ignored = len(entries) - len(subfolders)
    for subfolder in subfolders:
        for path in _walk(subfolder):
            if path.suffix.lower() in IMAGE_SUFFIXES and not _is_endless(path):
                photographs.append(Photograph(str(path), classes[subfolder.name]))
            else:
                ignored += 1
    if not photographs:
        raise WrongFactsError(f"{str(folder)!r} has no photograph; it needs a subfolder with some for each class.")
    photographs.sort(key=lambda photograph: (photograph.class_id, photograph.path))
    return LabelledFolder(tuple(photographs), classes, ignored)


def choose_of_each_class(photographs: Sequence[Photograph], most: int) -> list[Photograph]:
    """Return at most so many, taking one of each class in turn; the classes are sorted."""
    of_class = itertools.groupby(photographs, key=lambda photograph: photograph.class_id)
    turns = itertools.zip_longest(*(list(group) for _, group in of_class))
    return [photograph for turn in turns for photograph in turn if photograph is not None][:most]


def draw_sample(photographs: Sequence[Photograph], most: int) -> list[Photograph]:
    """Return at most so many at even distances: of sorted classes, each gets its share."""
    if len(photographs) <= most:
        return list(photographs)
    return [photographs[number * len(photographs) // most] for number in range(most)]


def read_names(path: Path) -> dict[str, str]:
    """Read a file that names the classes of subfolders: `folder label` a line, or `folder<TAB>label`.

    In place of the label there may be a class id, or several names of the class with commas between them, of which the
    first counts that the model has. A folder's name with spaces in it needs the tab.

    Raises:
        WrongFactsError: The file cannot be read, or a line has no label.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise WrongFactsError(f"The labels map {str(path)!r} cannot be read: {reason}.") from error
    names: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        folder, *label = line.strip().split("\t" if "\t" in line.strip() else None, maxsplit=1)
        if not label:
            raise WrongFactsError(f"Line {number} of {str(path)!r} is {line!r}; it takes `folder label`.")
        names[folder.strip()] = label[0].strip()
    return names


def _walk(top: Path) -> list[Path]:
    """Return the files below a folder, sorted, without hidden ones."""

    def refuse(error: OSError) -> None:
        raise WrongFactsError(f"The photographs {str(error.filename)!r} cannot be read: {error.strerror}.") from error

    found: list[Path] = []
    for folder, subfolders, files in os.walk(top, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [Path(folder, name) for name in files if not name.startswith(".")]
    return sorted(found)


def _is_endless(path: Path) -> bool:
    """Whether the path is a pipe, a device or a socket, whose reading may never end."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False  # reading it says what is wrong


def _match(
    folder: Path, subfolders: Sequence[str], labels: Sequence[str], names: Mapping[str, str] | None
) -> dict[str, int]:
    finder = _ClassFinder(labels)
    hint = _RENAME_HINT if names is None else _MAP_HINT
    found = {subfolder: finder.find((names or {}).get(subfolder, subfolder)) for subfolder in subfolders}
    for subfolder, ids in found.items():
        if len(ids) > 1:
            raise WrongFactsError(
                f"The subfolder {subfolder!r} of {str(folder)!r} could be {' or '.join(map(str, ids))}, which are "
                f"{' and '.join(repr(labels[one]) for one in ids)}: name it by the class id. {hint}"
            )
    if unknown := [subfolder for subfolder, ids in found.items() if not ids]:
        raise _explain_unknown(folder, unknown, finder, hint)
    return {subfolder: ids[0] for subfolder, ids in found.items()}


def _explain_unknown(folder: Path, unknown: Sequence[str], finder: "_ClassFinder", hint: str) -> WrongFactsError:
    listed = ", ".join(map(repr, unknown[:_NAMED])) + (f" and {len(unknown) - _NAMED} more" * (len(unknown) > _NAMED))
    labels = finder.labels
    shown = ", ".join(map(repr, labels[:_NAMED]))
    if len(labels) > _NAMED:
        shown += f" and {len(labels) - _NAMED} more, which `lightbox models labels MODEL` lists"
    ids = f"; class ids go from 0 to {len(labels) - 1}" if finder.takes_ids else ""
    if hint == _MAP_HINT and all(_WORDNET_ID.fullmatch(name) for name in unknown):
        hint = (
            "They look like WordNet ids, which the model does not have: `--labels-map FILE` gives them labels or class "
            "ids, a line `n02123045 tabby` or `n02123045 281` for each."
        )
    elif any(inner.is_dir() for name in unknown for inner in (folder / name).iterdir()):
        hint = f"There are folders in them: name the one that has the classes in it, such as {folder / unknown[0]}."
    return WrongFactsError(
        f"These subfolders of {str(folder)!r} are neither labels nor class ids of the model: {listed}. Its labels are "
        f"{shown}{ids}. {hint}",
        unknown=list(unknown),
    )


class _ClassFinder:
    """Finds the class ids that a text may mean: by the label, by the id, or by the label's words."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        # Where labels are numbers themselves, a number that is none of them is a mistake.
        self.takes_ids = not any(label.strip().isdecimal() for label in labels)
        self._exact: dict[str, set[int]] = defaultdict(set)
        self._by_words: dict[str, set[int]] = defaultdict(set)
        self._by_synonym: dict[str, set[int]] = defaultdict(set)
        for class_id, label in enumerate(labels):
            self._exact[label].add(class_id)
            self._by_words[_to_words(label)].add(class_id)
            for synonym in label.split(","):
                self._by_synonym[_to_words(synonym)].add(class_id)

    def find(self, text: str) -> list[int]:
        """Return the class ids that a text may mean; the first way that finds any counts."""
        if found := self._exact.get(text):
            return sorted(found)
        if self.takes_ids and text.isdecimal():
            return [int(text)] if int(text) < len(self.labels) else []
        words = _to_words(text)
        for index, asked in (
            (self._by_words, words),
            *((self._by_synonym, _to_words(part)) for part in text.split(",")),
        ):
            if found := index.get(asked):
                return sorted(found)
        return []


def _to_words(text: str) -> str:
    return _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()
