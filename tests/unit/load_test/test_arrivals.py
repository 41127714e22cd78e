import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.load_test.generator import draw_arrivals


@given(rate=st.floats(1, 2000), duration_s=st.floats(1, 20), seed=st.integers(0, 2**32))
def test_arrivals_are_as_many_as_named_ascending_and_within_the_time(rate: float, duration_s: float, seed: int) -> None:
    arrivals = draw_arrivals(rate, duration_s, seed)

    assert len(arrivals) == round(rate * duration_s)
    assert np.all(np.diff(arrivals) >= 0)
    assert 0 <= arrivals[0] <= arrivals[-1] <= duration_s


def test_gaps_are_exponential() -> None:
    gaps = np.diff(draw_arrivals(1000, 100, seed=1))

    # An exponential's mean equals its standard deviation, and a share of 1/e of it is longer than the mean.
    assert gaps.mean() == pytest.approx(0.001, rel=0.01)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)
    assert np.mean(gaps > gaps.mean()) == pytest.approx(np.exp(-1), abs=0.01)


def test_another_seed_draws_other_arrivals() -> None:
    assert not np.array_equal(draw_arrivals(100, 1, seed=1), draw_arrivals(100, 1, seed=2))


def test_less_than_one_request_is_refused() -> None:
    with pytest.raises(ValueError, match="less than one request"):
        draw_arrivals(0.1, 1, seed=0)
