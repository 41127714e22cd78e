"""Which rate to offer next: first a ladder over the capacity, for the curve, then ever closer to where it breaks."""

from collections.abc import Sequence
from dataclasses import dataclass

LADDER = (0.25, 0.5, 0.7, 0.85, 1.0, 1.25)
"""Shares of the capacity that a closed loop found."""
STEPS = len(LADDER) + 3
"""How many rates a survey has time for: the ladder, and three to close in, which brings 15 % of the capacity to 2 %."""
PRECISION = 1.03
GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class Attempt:
    """A rate that was offered, and whether it was kept up."""

    rate_per_s: float
    is_kept: bool


def choose_rate(attempts: Sequence[Attempt], capacity_per_s: float) -> float | None:
    """Return the rate to offer after these, or None where the limit is known to 3 %.

    The ladder ends early after two rates in a row that were not kept, for a third would only say so again.
    """
    has_broken = len(attempts) >= 2 and not (attempts[-1].is_kept or attempts[-2].is_kept)
    if len(attempts) < len(LADDER) and not has_broken:
        return LADDER[len(attempts)] * capacity_per_s
    best = best_rate(attempts)
    broken = [attempt.rate_per_s for attempt in attempts if not attempt.is_kept]
    ceiling = min((rate for rate in broken if best is None or rate > best), default=None)
    if ceiling is None:
        return (best or capacity_per_s) * GROWTH
    if best is None:
        return ceiling / 2
    return None if ceiling / best <= PRECISION else (best + ceiling) / 2


def best_rate(attempts: Sequence[Attempt]) -> float | None:
    """Return the largest rate that was kept."""
    return max((attempt.rate_per_s for attempt in attempts if attempt.is_kept), default=None)
