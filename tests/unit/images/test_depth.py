import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from bento_service.images.colour import to_eight_bits


def _reduce(samples: np.ndarray, *, bits: int = 32, is_white_zero: bool = False) -> list[int]:
    image = to_eight_bits(Image.fromarray(samples), sample_bits=bits, is_white_zero=is_white_zero)
    assert image.mode == "L"
    return np.asarray(image).ravel().tolist()


@pytest.mark.parametrize(("bits", "value"), [(16, 0xABCD), (12, 0x0ABC), (10, 0x02AF)])
def test_unsigned_samples_keep_their_high_byte(bits: int, value: int) -> None:
    assert _reduce(np.array([[value]], dtype=np.uint16), bits=bits) == [0xAB]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_up_to_255_are_eight_bit_samples_already(dtype: type) -> None:
    assert _reduce(np.array([[0, 1, 128, 254]], dtype=dtype)) == [0, 1, 128, 254]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_up_to_65535_are_sixteen_bit_samples(dtype: type) -> None:
    assert _reduce(np.array([[0, 257, 32_896, 65_535]], dtype=dtype)) == [0, 1, 128, 255]


def test_floats_up_to_1_are_shares_of_white() -> None:
    assert _reduce(np.array([[0.0, 0.2, 0.5, 1.0]], dtype=np.float32)) == [0, 51, 128, 255]


def test_integers_up_to_1_are_still_eight_bit_samples() -> None:
    assert _reduce(np.array([[0, 1]], dtype=np.int32)) == [0, 1]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_negative_values_are_stretched_from_lowest_to_highest(dtype: type) -> None:
    assert _reduce(np.array([[-100, 0, 100]], dtype=dtype)) == [0, 128, 255]


def test_values_without_a_known_scale_are_stretched_from_lowest_to_highest() -> None:
    assert _reduce(np.array([[1e9, 2e9]], dtype=np.float32)) == [0, 255]


def test_the_whole_range_of_a_float_is_stretched_without_overflow() -> None:
    limit = float(np.finfo(np.float32).max)
    assert _reduce(np.array([[-limit, 0.0, limit]], dtype=np.float32)) == [0, 128, 255]


def test_what_is_not_a_number_is_black_and_infinities_are_the_ends() -> None:
    samples = np.array([[np.nan, -np.inf, np.inf, 255.0, 0.0]], dtype=np.float32)
    assert _reduce(samples) == [0, 0, 255, 255, 0]


@pytest.mark.parametrize("value", [np.nan, -np.inf, 0.0])
def test_an_image_of_nothing_is_black(value: float) -> None:
    assert _reduce(np.full((1, 2), value, dtype=np.float32)) == [0, 0]


def test_a_file_that_counts_from_white_is_inverted() -> None:
    assert _reduce(np.array([[0, 65_535]], dtype=np.uint16), bits=16, is_white_zero=True) == [255, 0]


@given(arrays.arrays(np.float32, (3, 4), elements=st.floats(width=32)))
def test_any_floats_become_eight_bits(samples: np.ndarray) -> None:
    assert len(_reduce(samples)) == 12


@given(arrays.arrays(np.float32, (1, 6), elements=st.floats(0, 65_535, width=32)))
def test_a_brighter_sample_never_becomes_darker(samples: np.ndarray) -> None:
    reduced = np.array(_reduce(samples))
    assert (np.diff(reduced[np.argsort(samples.ravel())]) >= 0).all()
