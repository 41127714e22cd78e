from pathlib import Path

import pytest

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.label_files import (
    are_placeholders,
    find_label_file,
    read_label_file,
    read_labels,
)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("zebra\n10\n2\nant\n", ("zebra", "10", "2", "ant")),
        ("0 Cat\n1 Big dog\n", ("Cat", "Big dog")),
        ("1 dog\n0 cat\n", ("cat", "dog")),
        ("10 Downing Street\n11 Downing Street\n", ("10 Downing Street", "11 Downing Street")),
        ("\ufeffä\r\nb\r\n\r\n", ("ä", "b")),
        ('["b", "a"]', ("b", "a")),
        (
            '{"1": "a", "0": "b", "10": "k", "2": "c", "3": "", "4": "", "5": "", "6": "", "7": "", "8": "", "9": ""}',
            None,
        ),
        ('{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}', ("tench", "goldfish")),
    ],
)
def test_labels_keep_the_order_of_their_file_or_of_its_numbers(
    tmp_path: Path, text: str, labels: tuple[str, ...] | None
) -> None:
    file = tmp_path / "labels.txt"
    file.write_text(text, encoding="utf-8")

    read = read_label_file(file)

    assert read == labels if labels else read[:3] + read[10:] == ("b", "a", "c", "k")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("a\n\nb\n", "line 2 is empty, which would shift the classes"),
        ('{"0": "a", "2": "b"}', "class numbers are not 0 to 1"),
        ('{"a": 0}', "keys are no class numbers"),
        ("[1, 2]", "no list of labels"),
        ("\x00\xff", None),
    ],
)
def test_labels_that_may_be_shifted_or_are_none_are_refused(tmp_path: Path, text: str, reason: str | None) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(text.encode("latin-1"))

    with pytest.raises(ModelLoadError, match=reason or "cannot be read"):
        read_label_file(file)


def test_torchserves_file_comes_before_plain_text(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("b\n")
    assert find_label_file(tmp_path).value == ("b",)  # type: ignore[union-attr]
    (tmp_path / "index_to_name.json").write_text('{"0": "a"}')
    assert find_label_file(tmp_path).where == "index_to_name.json"  # type: ignore[union-attr]


def test_imagenets_labels_have_a_name_of_their_own() -> None:
    labels = read_labels("imagenet").value

    assert (len(labels), labels[0]) == (1000, "tench")
    with pytest.raises(ModelLoadError, match="no file of labels 'imagenette'"):
        read_labels("imagenette")


def test_numbered_placeholders_are_no_labels() -> None:
    assert are_placeholders(["LABEL_0", "LABEL_1"])
    assert not are_placeholders(["LABEL_0", "cat"])
