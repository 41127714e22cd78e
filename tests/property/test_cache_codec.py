"""Encoded results decode bit for bit, and damaged ones to None."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bento_service.cache.base import CachedResult
from bento_service.cache.redis_store import FORMAT, decode, encode
from bento_service.domain.requests import ImageInfo

words = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=30)
sizes = st.integers(0, 2**32 - 1)
results = st.builds(
    CachedResult.of,
    npst.arrays(np.float32, st.integers(0, 50), elements=st.floats(0, 1, width=32)),
    st.builds(ImageInfo, words, sizes, sizes),
    st.lists(words, max_size=10).map(tuple),
)


@given(results)
def test_a_result_comes_back_bit_for_bit(result: CachedResult) -> None:
    decoded = decode(encode(result))
    assert decoded is not None
    assert decoded.scores.tobytes() == result.scores.tobytes()
    assert decoded.scores.dtype == np.float32
    assert (decoded.image, decoded.warnings) == (result.image, result.warnings)


@given(results, st.data())
def test_a_truncated_value_is_not_found(result: CachedResult, data: st.DataObject) -> None:
    value = encode(result)
    assert decode(value[: data.draw(st.integers(0, len(value) - 1))]) is None


@given(results, st.integers(0, 255).filter(lambda number: number != FORMAT))
def test_a_value_of_another_format_is_not_found(result: CachedResult, other: int) -> None:
    assert decode(bytes([other]) + encode(result)[1:]) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_result_or_not_found(value: bytes) -> None:
    decode(value)
