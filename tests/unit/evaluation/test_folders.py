import os
from pathlib import Path

import pytest

from bento_service.errors import WrongFactsError
from bento_service.evaluation.folders import (
    Photograph,
    choose_of_each_class,
    draw_sample,
    find_photographs,
    read_names,
)

LABELS = ("tabby", "Egyptian cat", "crane", "crane", "tench, Tinca tinca")


def make_folder(top: Path, *files: str) -> Path:
    for file in files:
        (top / file).parent.mkdir(parents=True, exist_ok=True)
        (top / file).write_bytes(b"")
    return top


@pytest.mark.parametrize(
    ("subfolder", "class_id"),
    [
        ("tabby", 0),
        ("Tabby", 0),
        ("egyptian_cat", 1),
        ("EGYPTIAN-CAT", 1),
        ("1", 1),
        ("0003", 3),
        ("tench", 4),
        ("tinca tinca", 4),
    ],
)
def test_a_subfolder_is_named_by_a_label_in_any_spelling_or_by_the_class_id(
    tmp_path: Path, subfolder: str, class_id: int
) -> None:
    found = find_photographs(make_folder(tmp_path, f"{subfolder}/one.jpg"), LABELS)

    assert found.photographs == (Photograph(str(tmp_path / subfolder / "one.jpg"), class_id),)


def test_photographs_are_sorted_by_class_at_any_depth_without_hidden_files_and_with_the_others_counted(
    tmp_path: Path,
) -> None:
    files = (
        "tabby/b.JPG",
        "tabby/deeper/a.png",
        "0/z.webp",
        ".cache/c.jpg",
        "tabby/.d.jpg",
        "tabby/notes.txt",
        "e.csv",
    )

    found = find_photographs(make_folder(tmp_path, *files, "1/x.jpg"), LABELS)

    names = [(Path(one.path).name, one.class_id) for one in found.photographs]
    assert names == [("z.webp", 0), ("b.JPG", 0), ("a.png", 0), ("x.jpg", 1)]
    assert found.ignored == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ("wolf/a.jpg", "fox/a.jpg"),
            r"neither labels nor class ids of the model: 'fox', 'wolf'. Its labels are 'tabby'",
        ),
        (("7/a.jpg",), "class ids go from 0 to 4"),
        (("n02123045/a.jpg",), "look like WordNet ids"),
        (("train/tabby/a.jpg",), "There are folders in them: name the one that has the classes in it"),
        (("crane/a.jpg",), "could be 2 or 3, which are 'crane' and 'crane': name it by the class id"),
        (("tabby/notes.txt",), "has no photograph"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_with_what_is_allowed(
    tmp_path: Path, files: tuple[str, ...], message: str
) -> None:
    with pytest.raises(WrongFactsError, match=message):
        find_photographs(make_folder(tmp_path, *files), LABELS, {})


def test_pipes_and_devices_are_left_out_since_reading_them_may_never_end(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "tabby/a.jpg")
    os.mkfifo(folder / "tabby" / "pipe.jpg")
    (folder / "tabby" / "zeros.jpg").symlink_to("/dev/zero")
    (folder / "tabby" / "gone.jpg").symlink_to("nowhere")

    found = find_photographs(folder, LABELS)

    assert [Path(one.path).name for one in found.photographs] == ["a.jpg", "gone.jpg"]
    assert found.ignored == 2


def test_a_folder_that_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(WrongFactsError, match="nowhere' cannot be read: No such file or directory"):
        find_photographs(tmp_path / "nowhere", LABELS)


def test_numbers_are_labels_where_labels_are_numbers(tmp_path: Path) -> None:
    degrees = ("0", "90", "180", "270")

    found = find_photographs(make_folder(tmp_path, "90/a.jpg", "270/b.jpg"), degrees)

    assert [one.class_id for one in found.photographs] == [1, 3]
    with pytest.raises(WrongFactsError, match="'1'"):
        find_photographs(make_folder(tmp_path, "1/c.jpg"), degrees)


def test_a_map_gives_subfolders_their_labels(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "photographs", "n02123045/a.jpg", "my cats/b.jpg", "n1/c.jpg", "crane/d.jpg")
    names = tmp_path / "map.txt"
    names.write_text("n02123045 tiger cat, tabby\nmy cats\tEgyptian cat\n\nn1 4\ncrane 3\n", encoding="utf-8")

    found = find_photographs(folder, LABELS, read_names(names))

    assert found.classes == {"n02123045": 0, "my cats": 1, "n1": 4, "crane": 3}


def test_a_line_of_the_map_without_a_label_is_named(tmp_path: Path) -> None:
    names = tmp_path / "map.txt"
    names.write_text("tabby 0\nn02123045\n")

    with pytest.raises(WrongFactsError, match=r"Line 2 of .* is 'n02123045'"):
        read_names(names)


PHOTOGRAPHS = [Photograph(f"{number}.jpg", int(number >= 80)) for number in range(100)]


def test_a_sample_has_each_class_by_its_share() -> None:
    sample = draw_sample(PHOTOGRAPHS, 10)

    assert [one.class_id for one in sample] == [0] * 8 + [1] * 2
    assert len(set(sample)) == 10
    assert draw_sample(PHOTOGRAPHS, 200) == PHOTOGRAPHS


def test_a_choice_has_as_many_of_each_class_as_there_are() -> None:
    assert [one.class_id for one in choose_of_each_class(PHOTOGRAPHS, 50)].count(1) == 20
