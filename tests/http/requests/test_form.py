import itertools
import tracemalloc
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bento_service.errors import (
    ImageTooLargeError,
    InvalidParameterError,
    LightboxError,
    MissingImageError,
    TooManyImagesError,
)
from bento_service.http.requests.body import ByteBudget, ByteLease
from bento_service.http.requests.form import MAX_OTHER_PARTS, MAX_TEXT_BYTES, FormFile, ImageForm

BOUNDARY = b"----cut"
BUDGET_BYTES = 1_000_000


def image_form(*, max_files: int = 8, max_file_bytes: int = 1000, budget: ByteBudget | None = None) -> ImageForm:
    return ImageForm(
        BOUNDARY,
        field="images",
        max_files=max_files,
        max_file_bytes=max_file_bytes,
        too_many_files=TooManyImagesError("too many"),
        lease=ByteLease(budget or ByteBudget(BUDGET_BYTES)),
        text_fields=["top_k", "model"],
    )


def encode(parts: Sequence[tuple[str, str | None, bytes]]) -> bytes:
    body = b""
    for name, filename, content in parts:
        disposition = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
        body += b"--" + BOUNDARY + f"\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"
    return body + b"--" + BOUNDARY + b"--\r\n"


def feed(form: ImageForm, body: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            form.feed(body[start:end])


def parse(body: bytes, cuts: Sequence[int] = ()) -> tuple[FormFile, ...]:
    form = image_form()
    feed(form, body, list(cuts))
    return form.finish()


filename_characters = st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["Cc"])
filenames = st.none() | st.text(filename_characters, max_size=20)
contents = st.binary(max_size=300) | st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"--", BOUNDARY, b"\r\n----cu", b"\x00", b"\xff"]), max_size=20
).map(b"".join)


@given(
    st.lists(st.tuples(st.sampled_from(["images", "other"]), filenames, contents), max_size=8),
    st.lists(st.integers(0, 10_000), max_size=12),
)
@example([("images", None, b"\r\n----cu")], [3, 80, 81, 82])
def test_a_form_gives_the_same_files_however_it_is_cut(
    parts: list[tuple[str, str | None, bytes]], cuts: list[int]
) -> None:
    parts = [(name, filename, content.replace(b"\r\n--" + BOUNDARY, b"")) for name, filename, content in parts]
    parts = [one for one in parts if not (b"\r\n" + one[2]).startswith(b"\r\n--" + BOUNDARY)]
    expected = [(filename, content) for name, filename, content in parts if name == "images"]

    if not expected:
        with pytest.raises(MissingImageError):
            parse(encode(parts), cuts)
        return
    files = parse(encode(parts), cuts)

    assert [(file.filename, file.content) for file in files] == expected


@given(st.data())
def test_a_form_with_flipped_bytes_never_crashes(data: st.DataObject) -> None:
    body = bytearray(encode([("images", "a.jpg", b"one"), ("images", None, b"two")]))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    try:
        parse(bytes(body))
    except LightboxError as error:
        assert error.message


@given(st.integers(0, 200))
def test_a_form_that_is_cut_short_is_refused(kept: int) -> None:
    body = encode([("images", "a.jpg", b"x" * 30)])

    with pytest.raises(LightboxError):
        parse(body[: min(kept, len(body) - 4)])


@pytest.mark.parametrize("step", [1, 1000])
def test_a_file_over_the_limit_loses_its_content_and_frees_its_bytes(step: int) -> None:
    budget = ByteBudget(BUDGET_BYTES)
    form = image_form(max_file_bytes=10, budget=budget)
    contents = {"a": b"x" * 10, "b": b"y" * 500, "c": b"z"}
    body = encode([("images", name, content) for name, content in contents.items()] + [("other", None, b"o" * 99)])
    for start in range(0, len(body), step):
        form.feed(body[start : start + step])

    files = form.finish()
    assert [file.content for file in files] == [contents["a"], None, contents["c"]]
    assert budget.held_bytes == 11
    with pytest.raises(ImageTooLargeError, match="10 bytes"):
        files[1].require_content()


def test_one_file_too_many_is_refused_as_it_begins() -> None:
    form = image_form(max_files=2)

    with pytest.raises(TooManyImagesError):
        form.feed(encode([("images", None, b"x")] * 3).removesuffix(b"x\r\n--" + BOUNDARY + b"--\r\n"))


@given(
    st.lists(st.tuples(st.sampled_from(["top_k", "model", "other"]), st.text(filename_characters, max_size=50))),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_named_texts_are_kept_and_others_known_by_name(texts: list[tuple[str, str]], cuts: list[int]) -> None:
    texts = texts[:MAX_OTHER_PARTS]
    parts = [(name, None, text.encode()) for name, text in texts]
    form = image_form()
    feed(form, encode([*parts[:1], ("images", "a.jpg", b"image"), *parts[1:]]), cuts)

    assert [file.content for file in form.finish()] == [b"image"]
    assert form.texts == {name: text if name != "other" else "" for name, text in texts}


@pytest.mark.parametrize("step", [1, 5000])
def test_a_text_may_be_long_but_not_longer_than_the_limit(step: int) -> None:
    def read_text(size: int) -> Mapping[str, str]:
        form, body = image_form(), encode([("model", None, b"m" * size)])
        for start in range(0, len(body), step):
            form.feed(body[start : start + step])
        return form.texts

    assert read_text(MAX_TEXT_BYTES) == {"model": "m" * MAX_TEXT_BYTES}
    with pytest.raises(InvalidParameterError, match="`model` is longer than the 1024 bytes") as refusal:
        read_text(MAX_TEXT_BYTES + 1)
    assert refusal.value.details == {"parameter": "model"}


def test_a_text_in_place_of_a_file_is_a_missing_image() -> None:
    address, image = parse(encode([("images", None, b"http://169.254.169.254/"), ("images", None, b"\xff\xd8")]))

    assert image.require_content() == b"\xff\xd8"
    with pytest.raises(MissingImageError, match="as a file"):
        address.require_content()


def test_other_fields_are_skipped_but_not_without_number() -> None:
    image = ("images", None, b"x")
    assert len(parse(encode([("other", None, b"o")] * MAX_OTHER_PARTS + [image]))) == 1

    with pytest.raises(InvalidParameterError, match="more than"):
        parse(encode([("other", None, b"o")] * (MAX_OTHER_PARTS + 1) + [image]))


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: image/jpeg",
        b"Content-Disposition: form-data",
        b'Content-Disposition: form-data; filename="a"',
        b"X: " + b"y" * 5000,
        b"\r\n".join(b"X%d: y" % index for index in range(9)),
    ],
)
def test_a_part_without_a_name_or_with_endless_headers_is_refused(head: bytes) -> None:
    with pytest.raises(InvalidParameterError, match="malformed"):
        parse(b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\nx\r\n--" + BOUNDARY + b"--\r\n")


def test_a_filename_that_is_no_utf8_is_shown_as_far_as_it_is() -> None:
    body = encode([("images", "cat", b"x")]).replace(b"cat", b"c\xe4t")

    assert parse(body)[0].filename == "c�t"


def test_the_bytes_of_a_file_are_held_no_more_than_twice() -> None:
    size = 4_000_000
    body = memoryview(encode([("images", None, bytes(size))]))
    form = image_form(max_file_bytes=size, budget=ByteBudget(size))

    tracemalloc.start()
    for start in range(0, len(body), 65_536):
        form.feed(bytes(body[start : start + 65_536]))
    files = form.finish()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert files[0].content == bytes(size)
    assert peak_bytes < 2.2 * size
