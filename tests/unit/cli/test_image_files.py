import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bento_service.cli.image_files import find_images


@pytest.mark.parametrize("suffix", ["heic", "HEIF", "hif", "avif", "jfif", "jpe", "jif", "pjpeg"])
def test_a_folder_is_searched_for_what_phones_and_browsers_save(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    path.touch()

    assert find_images([str(tmp_path)]).paths == (path,)


@pytest.mark.parametrize("name", ["notes.txt", "cat[1].jpg"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()

    assert find_images([str(path)]).paths == (path,)


def test_a_quoted_pattern_finds_what_the_shell_would_find(photographs: Path) -> None:
    expanded_by_the_shell = [str(photographs / name) for name in ("a.png", "b.jpg", "c.png", "deeper", "notes.txt")]

    assert find_images([str(photographs / "*")]).paths == find_images(expanded_by_the_shell).paths
    assert [path.name for path in find_images([str(photographs / "**" / "*.PNG")]).paths] == ["d.PNG"]


def test_each_file_comes_once_and_in_the_order_of_the_arguments(photographs: Path) -> None:
    last_first = [str(photographs / "c.png"), str(photographs)]

    assert [path.name for path in find_images(last_first).paths] == ["c.png", "a.png", "b.jpg", "d.PNG"]


@pytest.mark.parametrize("argument", ["", "**/*", "**/*.*", "**"])
def test_links_back_up_are_not_followed(photographs: Path, argument: str) -> None:
    for name in ("up", "back.png"):
        (photographs / "deeper" / name).symlink_to(photographs, target_is_directory=True)
    (photographs / "notes.txt").unlink()

    inputs = find_images([str(photographs / argument)])

    assert [path.name for path in inputs.paths] == ["a.png", "b.jpg", "c.png", "d.PNG"]
    assert inputs.problems == ()


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("nowhere.png", "nowhere.png: no such file or folder"),
        ("*.tiff", "*.tiff: no image file matches this pattern"),
        ("empty", "empty: no image file in this folder (.avif, .bmp,"),
        ("", "an argument is empty, as an unset variable makes it; name a file, a folder or a pattern"),
        ("a" * 300, f"{'a' * 60}…: too long for a path (300 characters)"),
        ("a.png/b.png", "a.png/b.png: Not a directory"),
        ("loop", "loop: Too many levels of symbolic links"),
        *((name, "pipe.png: neither a file nor a folder, but a device, a named pip") for name in ("pipe.png", "*.png")),
        ("large.tif", "large.tif: too large for an image (1,000,000,001 bytes; at most 1,000,000,000)"),
        ("/dev/zero", "/dev/zero: neither a file nor a folder, but a device, a named pipe or a socket"),
        ("caf\udce9\n*", r"caf\xe9\n*: no image file matches this pattern"),
    ],
)
def test_an_argument_without_an_image_is_one_line_and_the_others_count(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, argument: str, problem: str
) -> None:
    monkeypatch.chdir(photographs)
    (photographs / "empty").mkdir()
    os.mkfifo("pipe.png")
    (photographs / "loop").symlink_to("loop")
    (photographs / "large.tif").touch()
    os.truncate("large.tif", 1_000_000_001)

    inputs = find_images([argument, "a.png"])

    assert len(inputs.problems) == 1
    assert inputs.problems[0].startswith(problem)
    assert Path("a.png") in inputs.paths


def test_a_pipe_that_this_process_was_given_is_read(photographs: Path) -> None:
    reader, writer = os.pipe()

    try:
        assert find_images([f"/dev/fd/{reader}"]).paths == (Path(f"/dev/fd/{reader}"),)
    finally:
        os.close(reader)
        os.close(writer)


@contextmanager
def unprivileged() -> Iterator[None]:
    """What root may read, this user may not."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("argument", [".", "**/*.png"])
def test_a_folder_that_may_not_be_read_is_said_and_the_others_count(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    monkeypatch.chdir(photographs)
    (photographs / "deeper").chmod(0)

    with unprivileged():
        inputs = find_images([argument])

    assert Path("a.png") in inputs.paths
    assert [problem.removeprefix("./") for problem in inputs.problems] == ["deeper: Permission denied"]


@pytest.mark.parametrize("argument", [".", "**/*.png"])
def test_a_link_into_a_locked_folder_is_kept_and_the_others_count(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    monkeypatch.chdir(photographs)
    (photographs / "link.png").symlink_to("locked/a.png")
    (photographs / "locked").mkdir(mode=0)

    with unprivileged():
        inputs = find_images([argument])

    assert {Path("a.png"), Path("link.png")} <= set(inputs.paths)
