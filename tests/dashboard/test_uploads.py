from hypothesis import given
from hypothesis import strategies as st

from dashboard.uploads import select

FILES = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=40)), max_size=12)


@given(FILES, st.integers(1, 6), st.integers(1, 120))
def test_a_selection_stays_within_both_limits(files: list[tuple[str, bytes]], max_files: int, max_bytes: int) -> None:
    selection = select(files, max_files=max_files, max_total_bytes=max_bytes)
    assert len(selection.images) <= max_files
    assert sum(len(image.encoded) for image in selection.images) <= max_bytes


@given(FILES)
def test_what_is_skipped_is_named(files: list[tuple[str, bytes]]) -> None:
    selection = select(files, max_files=2, max_total_bytes=10_000)
    distinct = len({encoded for _, encoded in files})
    assert bool(selection.skipped) == (distinct > 2)
    assert set(selection.skipped) <= {name for name, _ in files}


def test_the_same_bytes_twice_are_one_image() -> None:
    selection = select([("a.png", b"x"), ("b.png", b"x")], max_files=9, max_total_bytes=99)
    assert [image.name for image in selection.images] == ["a.png"]
    assert not selection.skipped
