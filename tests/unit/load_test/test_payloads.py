import io
import itertools

import numpy as np
import pytest
from PIL import Image

from bento_service.domain.models import InputRecipe
from bento_service.images.preprocessing import ImageLimits, preprocess
from bento_service.load_test.address import Address
from bento_service.load_test.generator import LoadOptions, prepare_payloads

ADDRESS = Address("127.0.0.1", 3000, "localhost", "localhost:3000", "/v1/classify", is_tls=False)
RECIPE = InputRecipe(64, 64, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
LIMITS = ImageLimits(max_bytes=1_000_000, max_pixels=1_000_000)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_an_image_made_unique_is_read_as_the_same_image(image_format: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (80, 100, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, image_format)
    encoded = stream.getvalue()

    first, second = itertools.islice(prepare_payloads(ADDRESS, [encoded], LoadOptions(makes_unique=True)), 2)

    bodies = [b"".join(payload[1:]) for payload in (first, second)]
    assert bodies[0] != bodies[1]
    expected = preprocess(encoded, RECIPE, LIMITS)
    for body in bodies:
        prepared = preprocess(body, RECIPE, LIMITS)
        np.testing.assert_array_equal(prepared.pixels_hwc, expected.pixels_hwc)
        assert prepared.warnings == expected.warnings


@pytest.mark.parametrize("makes_unique", [False, True])
def test_bodies_take_turns_uncopied_with_their_length(makes_unique: bool) -> None:
    bodies = [b"one", b"three"]

    payloads = prepare_payloads(ADDRESS, bodies, LoadOptions(makes_unique=makes_unique))

    for body, (head, *pieces) in zip(bodies * 2, payloads, strict=False):
        assert pieces[0] is body
        assert f"Content-Length: {sum(map(len, pieces))}\r\n".encode() in head
