"""Whether a clock may be believed when it says that something is old (ADR 18)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

DAY = timedelta(days=1)
_LONGEST_PAUSE = 7 * DAY
"""A service is often off for some days: the clock is believed at once."""
_PROOF_SHARE = 24
"""After a longer pause it is believed once it has run steadily for this part of the pause: an hour for each day."""
_LEAP = timedelta(hours=1)


class ClockWatch:
    """Measures for how long the wall clock has agreed with a monotonic one. Not safe to share between threads."""

    def __init__(self, now: Callable[[], datetime], clock: Callable[[], float]) -> None:
        """Begin to measure. `now` is the wall clock, `clock` is in seconds."""
        self._now = now
        self._clock = clock
        self._begin()

    def steady_for(self) -> timedelta:
        """Return the time since the wall clock last leapt, by an hour or more, or since it is watched."""
        if abs(self._now() - timedelta(seconds=self._clock()) - self._origin) >= _LEAP:
            self._begin()
        return timedelta(seconds=self._clock() - self._begun_s)

    def _begin(self) -> None:
        self._begun_s = self._clock()
        self._origin = self._now() - timedelta(seconds=self._begun_s)


@dataclass(frozen=True, slots=True)
class Pruning:
    """What one pruning may delete by age.

    `days` are the starts of the days on which something was recorded. A clock that leapt ahead shows as a pause in
    them that never was. `steady_for` is the time that the clock has not leapt for.
    """

    now: datetime
    steady_for: timedelta
    days: tuple[datetime, ...]

    def find_cut(self, kept: timedelta) -> datetime | None:
        """Return the time before which everything is older than `kept`; None where the clock is not to be believed.

        It is believed where records reach back from now for as long as `kept` without a pause of more than a week, and
        after a longer pause once it has been steady for a 24th of it. So a clock that is wrong deletes at most a week
        too much, unless it stays wrong for a 24th of its leap.
        """
        cut = self.now - kept
        later = self.now
        longest = timedelta(0)
        for day in sorted((day for day in self.days if day <= self.now), reverse=True):
            longest = max(longest, later - day - DAY)
            if day + DAY <= cut:
                break
            later = day
        is_believed = longest <= _LONGEST_PAUSE or self.steady_for * _PROOF_SHARE >= longest
        return cut if is_believed else None
