"""What the client takes for an image, and what it sends for it."""

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lightbox_client import Client
from lightbox_client.errors import UnreadableImageFileError
from lightbox_client.payload import read_payload
from tests.fakes.service import FakeService

RGB: NDArray[np.uint8] = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
TAKEN = "encoded bytes .* a path, a file open for reading in binary, a numpy array of uint8 .* or a Pillow image"


def decode(encoded: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(encoded))
    image.load()
    return image


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO])
def test_encoded_bytes_of_any_kind_are_sent_as_they_are(kind: Any) -> None:
    payload = read_payload(kind(b"encoded"))

    assert (payload.encoded, payload.filename, payload.media_type) == (b"encoded", "image", "application/octet-stream")


@pytest.mark.parametrize(
    "array",
    [RGB, RGB[:, :, 0], RGB[::-1, ::2], RGB[:, :, ::-1], RGB.transpose(1, 0, 2), np.zeros((1, 1), np.uint8)],
    ids=["RGB", "grey", "a view", "reversed channels", "transposed", "one pixel"],
)
def test_an_array_is_sent_as_its_very_pixels(array: NDArray[np.uint8]) -> None:
    payload = read_payload(array, unnamed="image-7")

    assert np.array_equal(np.asarray(decode(payload.encoded)), array)
    assert (payload.filename, payload.media_type) == ("image-7.png", "image/png")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_pillow_image_is_sent_as_its_very_pixels(mode: str) -> None:
    picture = Image.fromarray(RGB).convert("L" if mode == "I;16" else mode).convert(mode)
    sent = decode(read_payload(picture).encoded)

    assert (sent.mode, sent.size) == (picture.mode, picture.size)
    assert sent.tobytes() == picture.tobytes()


def test_a_pillow_image_from_a_camera_is_sent_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.fromarray(RGB).save(tmp_path / "phone.png", exif=exif)

    with Image.open(tmp_path / "phone.png") as picture:
        sent = decode(read_payload(picture).encoded)

    assert np.array_equal(np.asarray(sent), np.rot90(RGB, -1))
    assert 0x0112 not in sent.getexif()


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        *((value, TypeError, f"{TAKEN}; this is {type(value).__name__}") for value in (None, 7, [1, 2], io.StringIO())),
        *(
            (array, ValueError, rf"{TAKEN}; this array is {array.dtype} with the shape {re.escape(str(array.shape))}")
            for array in (
                *(RGB.astype(np.float32) / 255, RGB.astype(np.int64), RGB > 7),
                *(np.zeros(shape, np.uint8) for shape in ((4, 5, 4), (3, 4, 5), (2, 4, 5, 3), (7,), (0, 5, 3))),
            )
        ),
        *(
            (Image.new(mode, size), ValueError, r"modes 1, L, .* this one is .* image\.convert\('RGB'\)")
            for mode, size in (("CMYK", (2, 2)), ("F", (2, 2)), ("RGB", (0, 2)))
        ),
    ],
)
def test_what_is_no_image_is_refused_with_what_is_taken(source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_payload(source)


def test_a_path_that_no_file_can_have_is_an_unreadable_file() -> None:
    with pytest.raises(UnreadableImageFileError, match="null"):
        read_payload("a\0b")


@pytest.mark.parametrize(
    "single",
    ["cat.jpg", b"encoded", Path("cat.jpg"), io.BytesIO(b"encoded"), RGB, RGB[:, :, 0], Image.fromarray(RGB)],
    ids=lambda single: type(single).__name__,
)
def test_a_single_image_is_no_batch(client: Client, service: FakeService, single: Any) -> None:
    with pytest.raises(TypeError, match=f"several images, such as a list; this is {type(single).__name__}"):
        client.classify_batch(single)

    assert service.requests == []


def test_an_array_of_images_is_a_batch(client: Client) -> None:
    answer = client.classify_batch(np.zeros((3, 4, 5, 3), np.uint8))

    assert [item.filename for item in answer.results] == ["image-0.png", "image-1.png", "image-2.png"]


def test_numpy_and_pillow_are_imported_for_nobody_who_has_no_pixels() -> None:
    program = (
        "import sys, io; from lightbox_client.payload import read_payload\n"
        "for source in (b'x', memoryview(b'x'), io.BytesIO(b'x')): read_payload(source)\n"
        "try: read_payload(7)\n"
        "except TypeError: print(sorted({'numpy', 'PIL'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert printed == "[]\n"
