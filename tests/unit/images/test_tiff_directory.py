import struct
from collections.abc import Mapping

import numpy as np
import pytest

from bento_service.errors import UndecodableImageError
from bento_service.images.tiff import open_tiff
from tests.unit.images.tiffs import RGB, Layout, encode_tiff


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({320: 1_500_000}, "tag 320 has 1,500,000 values; 1,048,576 are allowed"),
        ({292: 900_000, 293: 900_000}, "overlap"),
    ],
)
def test_tags_that_would_take_long_to_read_or_much_memory_are_refused(sizes: Mapping[int, int], reason: str) -> None:
    picture = encode_tiff(np.zeros((4, 4, 3), np.uint8), Layout(RGB, tags=dict.fromkeys(sizes, (0,))))
    encoded = bytearray(picture.ljust(1_600_000, b"\0"))
    for tag, size in sizes.items():
        entry_at = encoded.index(struct.pack("<HHI", tag, 3, 1))
        struct.pack_into("<HHII", encoded, entry_at, tag, 1, size, 8)
    with pytest.raises(UndecodableImageError, match=reason):
        open_tiff(bytes(encoded), max_pixels=100).load(max_pixels=100)
