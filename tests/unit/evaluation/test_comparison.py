import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.evaluation.comparison import compare, explain
from bento_service.evaluation.tally import NO_ANSWER

VERDICTS = st.lists(st.tuples(st.sampled_from([0, 1, NO_ANSWER]), st.sampled_from([0, 1, NO_ANSWER])), max_size=80)


def test_ten_photographs_against_two_are_more_than_chance() -> None:
    # By hand: 2 * (1 + 12 + 66) / 2^12.
    compared = compare([1] * 10 + [0] * 2 + [1] * 8, [0] * 10 + [1] * 2 + [1] * 8)

    assert (compared.only_first, compared.only_second, compared.difference) == (10, 2, 0.4)
    assert compared.p_value == pytest.approx(158 / 4096)
    assert explain(compared, "lite2", "lite0") == (
        "lite2 is 40.0 points more accurate than lite0 (lite2 alone is right on 10, lite0 alone on 2): this is more "
        "than chance explains (p = 0.039, McNemar's exact test)."
    )


def test_three_against_one_may_be_chance_and_the_better_one_is_named() -> None:
    sentence = explain(compare([0, 0, 0, 1], [1, 1, 1, 0]), "lite0", "lite2")

    assert sentence.startswith("lite2 is 50.0 points more accurate than lite0")
    assert "this may be chance (p = 0.62" in sentence


def test_equal_models_are_said_to_be_equal() -> None:
    assert explain(compare([1, 0], [1, 0]), "a", "b") == "a and b are right on the same photographs."
    assert explain(compare([1, 0], [0, 1]), "a", "b").startswith("a and b are equally often right")


@given(VERDICTS)
def test_a_comparison_is_exact_and_the_same_from_both_sides(pairs: list[tuple[int, int]]) -> None:
    first, second = [one for one, _ in pairs], [other for _, other in pairs]

    compared, turned = compare(first, second), compare(second, first)

    count, less = compared.only_first + compared.only_second, min(compared.only_first, compared.only_second)
    exact = min(1.0, 2 * sum(math.comb(count, k) for k in range(less + 1)) / 2**count)
    assert compared.p_value == pytest.approx(exact)
    assert (turned.p_value, turned.difference) == (compared.p_value, -compared.difference)
    assert compared.photographs == sum(NO_ANSWER not in pair for pair in pairs)


def test_a_hundred_thousand_photographs_have_a_p_value_too() -> None:
    assert compare([1] * 50_500 + [0] * 49_500, [0] * 50_500 + [1] * 49_500).p_value == pytest.approx(0.00158, rel=0.01)
