from pathlib import Path

import pytest

from bento_service.commands.inputs import find_images


def test_a_folder_is_searched_in_order_and_only_for_names_of_images(photographs: Path) -> None:
    inputs = find_images([str(photographs)])

    assert [path.name for path in inputs.paths] == ["a.png", "b.jpg", "c.png", "d.PNG"]
    assert inputs.problems == ()


@pytest.mark.parametrize("suffix", ["heic", "HEIF", "hif", "avif", "jfif", "jpe", "jif", "pjpeg"])
def test_a_folder_is_searched_for_what_phones_and_browsers_save(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    path.touch()

    assert find_images([str(tmp_path)]).paths == (path,)


def test_a_file_is_taken_whatever_its_name(photographs: Path) -> None:
    notes = photographs / "notes.txt"

    assert find_images([str(notes)]).paths == (notes,)


def test_a_quoted_pattern_finds_what_the_shell_would_find(photographs: Path) -> None:
    expanded_by_the_shell = [str(photographs / name) for name in ("a.png", "b.jpg", "c.png", "deeper", "notes.txt")]

    assert find_images([str(photographs / "*")]).paths == find_images(expanded_by_the_shell).paths


def test_two_stars_match_at_any_depth(photographs: Path) -> None:
    inputs = find_images([str(photographs / "**" / "*.PNG")])

    assert [path.name for path in inputs.paths] == ["d.PNG"]


def test_a_file_with_a_pattern_in_its_name_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "cat[1].jpg"
    path.touch()

    assert find_images([str(path)]).paths == (path,)


def test_each_file_comes_once_and_in_the_order_of_the_arguments(photographs: Path) -> None:
    last_first = [str(photographs / "c.png"), str(photographs)]

    assert [path.name for path in find_images(last_first).paths] == ["c.png", "a.png", "b.jpg", "d.PNG"]


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("nowhere.png", "nowhere.png: no such file or folder"),
        ("*.tiff", "*.tiff: no image file matches this pattern"),
        ("empty", "empty: no image file in this folder (.avif, .bmp,"),
    ],
)
def test_an_argument_that_gives_nothing_is_said_and_the_others_count(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, argument: str, problem: str
) -> None:
    (photographs / "empty").mkdir()
    monkeypatch.chdir(photographs)

    inputs = find_images([argument, "a.png"])

    assert inputs.paths == (Path("a.png"),)
    assert len(inputs.problems) == 1
    assert inputs.problems[0].startswith(problem)


def test_a_link_back_up_is_not_followed_forever(photographs: Path) -> None:
    (photographs / "deeper" / "up").symlink_to(photographs, target_is_directory=True)

    assert len(find_images([str(photographs)]).paths) == 4
