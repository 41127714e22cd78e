from hypothesis import given
from hypothesis import strategies as st

from dashboard.uploads import select

FILES = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=40)), max_size=12)


@given(FILES, st.integers(1, 6), st.integers(1, 120))
def test_a_selection_keeps_both_limits_and_names_what_it_skips(
    files: list[tuple[str, bytes]], max_files: int, max_bytes: int
) -> None:
    selection = select(files, max_files=max_files, max_total_bytes=max_bytes)
    distinct = {encoded for _, encoded in files}
    assert len(selection.images) <= max_files
    assert sum(len(image.encoded) for image in selection.images) <= max_bytes
    assert bool(selection.skipped) == (len(distinct) > max_files or sum(map(len, distinct)) > max_bytes)
    assert set(selection.skipped) <= {name for name, _ in files}


def test_the_same_bytes_twice_are_one_image() -> None:
    selection = select([("a.png", b"x"), ("b.png", b"x")], max_files=9, max_total_bytes=99)
    assert [image.name for image in selection.images] == ["a.png"]
    assert not selection.skipped
