"""Whether two models differ by more than chance on the same photographs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bento_service.evaluation.tally import NO_ANSWER

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the photographs that both answered: how many each alone named rightly.

    `p_value` is that of McNemar's exact test: how often two equally good models would differ by at least as much.
    """

    photographs: int
    only_first: int
    only_second: int
    p_value: float

    @property
    def difference(self) -> float:
        """Accuracy of the first less that of the second, over these photographs."""
        return (self.only_first - self.only_second) / self.photographs if self.photographs else 0.0

    @property
    def may_be_chance(self) -> bool:
        """Whether equally good models would differ as much in more than one of twenty comparisons."""
        return self.p_value > SIGNIFICANT


def compare(first: Sequence[int], second: Sequence[int]) -> Comparison:
    """Compare the verdicts of two tallies over the same photographs."""
    pairs = [(one, other) for one, other in zip(first, second, strict=True) if NO_ANSWER not in (one, other)]
    only_first = sum(one > other for one, other in pairs)
    only_second = sum(one < other for one, other in pairs)
    return Comparison(len(pairs), only_first, only_second, _test(only_first, only_second))


def explain(comparison: Comparison, first: str, second: str) -> str:
    """Say in one sentence how the models differ, and whether that may be chance."""
    count = comparison.only_first + comparison.only_second
    if not count:
        return f"{first} and {second} are right on the same photographs."
    alone = f"{first} alone is right on {comparison.only_first:,}, {second} alone on {comparison.only_second:,}"
    points = f"{abs(comparison.difference) * 100:.1f} points"
    p_value = f"p = {comparison.p_value:.2g}" if comparison.p_value >= 0.0001 else "p < 0.0001"
    if comparison.only_first == comparison.only_second:
        return f"{first} and {second} are equally often right; {alone}."
    better, worse = (first, second) if comparison.difference > 0 else (second, first)
    verdict = "this may be chance" if comparison.may_be_chance else "this is more than chance explains"
    return f"{better} is {points} more accurate than {worse} ({alone}): {verdict} ({p_value}, McNemar's exact test)."


def _test(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (a binomial test with a probability of one half).

    McNemar 1947; exact as in https://en.wikipedia.org/wiki/McNemar%27s_test.
    """
    count = only_first + only_second
    if not count:
        return 1.0
    log_total = count * math.log(2) - math.lgamma(count + 1)
    tail = math.fsum(
        math.exp(-math.lgamma(k + 1) - math.lgamma(count - k + 1) - log_total)
        for k in range(min(only_first, only_second) + 1)
    )
    return min(1.0, 2 * tail)
