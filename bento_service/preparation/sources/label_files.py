"""Class labels in files of their own. The file's order is the order of the classes: nothing is ever sorted."""

import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from bento_service.errors import ModelLoadError, WrongFactsError
from bento_service.preparation.sources.findings import Finding
from bento_service.preparation.sources.foreign_files import explained_reading, find_inside, read_text

IMAGENET = "imagenet"
"""The value of `--labels` for ImageNet's 1,000 classes in their usual order."""
INDEX_TO_NAME = "index_to_name.json"
"""TorchServe's file of labels."""
LABELS_TXT = "labels.txt"
_NUMBERED = re.compile(r"(\d+)[\s:,]+(.+)")


def read_labels(text: str) -> Finding[tuple[str, ...]]:
    """Return the labels of `--labels`: a file, or the word `imagenet`.

    Raises:
        WrongFactsError: There is no such file, or it has no labels.
    """
    path = Path(text)
    where = f"--labels {text}"
    if path.is_file():
        try:
            return Finding(read_label_file(path), where)
        except ModelLoadError as error:
            raise WrongFactsError(error.message) from error
    if text == IMAGENET:
        return Finding(imagenet_classes(), where)
    raise WrongFactsError(
        f"There is no file of labels {text!r}. --labels takes a file with a label a line (or JSON), or `{IMAGENET}`."
    )


def imagenet_classes() -> tuple[str, ...]:
    """Return readable labels of ImageNet's 1,000 classes."""
    file = resources.files(__package__) / "imagenet_labels.txt"
    return tuple(file.read_text(encoding="utf-8").splitlines())


def find_label_file(folder: Path) -> Finding[tuple[str, ...]] | None:
    """Return the labels of a folder's `index_to_name.json` or `labels.txt`; raises as `read_label_file`."""
    for name in (INDEX_TO_NAME, LABELS_TXT):
        if (folder / name).is_file():
            return Finding(read_label_file(find_inside(folder, name)), name)
    return None


def read_label_file(path: Path) -> tuple[str, ...]:
    """Return the labels of a file: JSON (a list, or an object by class number), or text with a label a line.

    Lines may begin with the class number (`0 Cat`, as Teachable Machine writes); they are then in its order.

    Raises:
        ModelLoadError: The file cannot be read, has no labels, or a number is missing or doubled.
    """
    with explained_reading(f"The file of labels {path}"):
        text = read_text(path)
        labels = _parse_json(text) if text.lstrip()[:1] in {"{", "["} else _parse_lines(text)
        if not labels:
            raise ValueError("it is empty")
    return labels


def labels_by_number(names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the labels of a mapping from class number (as text) to label, in the numbers' order.

    Raises:
        ValueError: The numbers are not 0, 1, 2 and so on.
    """
    if not isinstance(names, Mapping):
        raise ValueError("its labels are no object by class number")
    try:
        by_number = {int(number): str(name) for number, name in names.items()}
    except ValueError:
        raise ValueError("its keys are no class numbers") from None
    if len(by_number) != len(names) or set(by_number) != set(range(len(by_number))):
        raise ValueError(f"its class numbers are not 0 to {len(names) - 1}")
    return tuple(by_number[number] for number in range(len(by_number)))


def _parse_json(text: str) -> tuple[str, ...]:
    content = json.loads(text)
    if isinstance(content, dict):
        # TorchServe's examples also have {"0": ["n01440764", "tench"]}, Keras's way.
        return labels_by_number({key: _last_of(value) for key, value in content.items()})
    if isinstance(content, list) and all(isinstance(label, str) for label in content):
        return tuple(content)
    raise ValueError("its JSON is no list of labels and no object by class number")


def _last_of(value: object) -> str:
    return str(value[-1]) if isinstance(value, list) and value else str(value)


def _parse_lines(text: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not all(lines):
        raise ValueError(f"line {lines.index('') + 1} is empty, which would shift the classes after it")
    numbered = {int(match[1]): match[2] for line in lines if (match := _NUMBERED.fullmatch(line))}
    if len(numbered) == len(lines) and set(numbered) == set(range(len(lines))):
        return tuple(numbered[number] for number in range(len(lines)))
    return tuple(lines)


def are_placeholders(labels: Sequence[str]) -> bool:
    """Return whether these are only numbers, as Hugging Face's `LABEL_0` where nobody named the classes."""
    return all(re.fullmatch(rf"(LABEL_|class_?)?{index}", label) for index, label in enumerate(labels))
