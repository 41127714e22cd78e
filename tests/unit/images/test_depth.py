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


FLOAT_MAX = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(("bits", "value"), [(16, 0xABCD), (12, 0x0ABC), (10, 0x02AF)])
def test_unsigned_samples_keep_their_high_byte(bits: int, value: int) -> None:
    assert _reduce(np.array([[value]], dtype=np.uint16), bits=bits) == [0xAB]


@pytest.mark.parametrize(
    ("dtypes", "samples", "expected"),
    [
        pytest.param("if", [0, 1, 128, 254], [0, 1, 128, 254], id="up to 255"),
        pytest.param("if", [0, 257, 32_896, 65_535], [0, 1, 128, 255], id="up to 65535"),
        pytest.param("f", [0.0, 0.2, 0.5, 1.0], [0, 51, 128, 255], id="floats up to 1"),
        pytest.param("i", [0, 1], [0, 1], id="integers up to 1"),
        pytest.param("if", [-100, 0, 100], [0, 128, 255], id="negative values, from lowest to highest"),
        pytest.param("f", [1e9, 2e9], [0, 255], id="no known scale, from lowest to highest"),
        pytest.param("f", [-FLOAT_MAX, 0.0, FLOAT_MAX], [0, 128, 255], id="the whole range of a float"),
        pytest.param("f", [np.nan, -np.inf, np.inf, 255.0, 0.0], [0, 0, 255, 255, 0], id="NaN and infinities"),
        pytest.param("f", [np.nan, np.nan], [0, 0], id="NaN alone"),
        pytest.param("f", [-np.inf, -np.inf], [0, 0], id="an infinity alone"),
        pytest.param("f", [0.0, 0.0], [0, 0], id="zeros"),
    ],
)
def test_other_samples_are_scaled_by_the_range_that_they_seem_to_use(
    dtypes: str, samples: list[float], expected: list[int]
) -> None:
    for dtype in dtypes:
        assert _reduce(np.array([samples], dtype=f"{dtype}4")) == expected


def test_a_file_whose_white_is_zero_is_inverted() -> None:
    assert _reduce(np.array([[0, 65_535]], dtype=np.uint16), bits=16, is_white_zero=True) == [255, 0]


@given(arrays.arrays(np.float32, (3, 4), elements=st.floats(width=32)))
def test_any_floats_become_eight_bits(samples: np.ndarray) -> None:
    assert len(_reduce(samples)) == 12


@given(arrays.arrays(np.float32, (1, 6), elements=st.floats(0, 65_535, width=32)))
def test_a_brighter_sample_never_becomes_darker(samples: np.ndarray) -> None:
    reduced = np.array(_reduce(samples))
    assert (np.diff(reduced[np.argsort(samples.ravel())]) >= 0).all()
