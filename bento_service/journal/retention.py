"""Whether to trust the wall clock about the age of records (ADR 18)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

DAY = timedelta(days=1)
_LONGEST_PAUSE = 7 * DAY
"""A pause up to this is trusted at once: services are often off for some days."""
_PROOF_SHARE = 24
"""A longer pause is trusted once the clock was steady for a 24th of it: an hour for each day."""
_LEAP = timedelta(hours=1)


class ClockWatch:
    """Measures for how long the wall clock `now` has agreed with the monotonic `clock`. Not thread-safe."""

    def __init__(self, now: Callable[[], datetime], clock: Callable[[], float]) -> None:
        self._now = now
        self._clock = clock
        self._begin()

    def steady_for(self) -> timedelta:
        """Return the time since the wall clock last leapt by an hour or more, or else since the start."""
        if abs(self._now() - timedelta(seconds=self._clock()) - self._origin) >= _LEAP:
            self._begin()
        return timedelta(seconds=self._clock() - self._begun_s)

    def _begin(self) -> None:
        self._begun_s = self._clock()
        self._origin = self._now() - timedelta(seconds=self._begun_s)


@dataclass(frozen=True, slots=True)
class Pruning:
    """What one pruning may delete by age.

    `days` holds the start of each day with records; a clock that leapt ahead leaves a gap. `steady_for` is the time
    since the clock last leapt.
    """

    now: datetime
    steady_for: timedelta
    days: tuple[datetime, ...]

    def find_cut(self, kept: timedelta) -> datetime | None:
        """Return the time before which everything is older than `kept`; None if the clock is not trusted.

        It is trusted if the records of the last `kept` have no gap of more than a week, and after a longer gap once it
        has been steady for a 24th of the gap. So a wrong clock deletes at most a week too much, unless it stays wrong
        for a 24th of its leap.
        """
        cut = self.now - kept
        later = self.now
        longest = timedelta(0)
        for day in sorted((day for day in self.days if day <= self.now), reverse=True):
            longest = max(longest, later - day - DAY)
            if day + DAY <= cut:
                break
            later = day
        is_trusted = longest <= _LONGEST_PAUSE or self.steady_for * _PROOF_SHARE >= longest
        return cut if is_trusted else None
