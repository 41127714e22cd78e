"""When to leave the cache alone: looking up what was never seen costs time and gains nothing."""

import random
from collections import deque
from collections.abc import Callable

WINDOW_LOOKUPS = 512
"""Lookups that the hit rate is taken over."""
MIN_HIT_RATE = 0.02
"""Below this share of hits, requests go past the cache. A hit saves milliseconds, a lookup costs some 29 µs
(`docs/adr/0010-cache.md`), so that the cache pays from about half a percent on: below two it gains next to nothing."""
SAMPLE_SHARE = 1 / 16
"""Share of requests that are looked up all the same, to notice when traffic changes."""


class Bypass:
    """Decides which requests go past the cache, by the hit rate of the last lookups. Used on one event loop.

    The sample is drawn at random: taking every sixteenth would never see an image twice in some traffic that repeats
    itself in turn, such as a client's folder sent again and again.
    """

    def __init__(
        self,
        *,
        window_lookups: int = WINDOW_LOOKUPS,
        min_hit_rate: float = MIN_HIT_RATE,
        sample_share: float = SAMPLE_SHARE,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Begin by looking everything up.

        Args:
            window_lookups: Lookups before it judges, and that it judges by.
            min_hit_rate: Share of hits below which requests go past.
            sample_share: Share of requests that are looked up nevertheless.
            draw: Gives numbers in [0, 1), each as likely.
        """
        self._min_hits = min_hit_rate * window_lookups
        self._sample_share = sample_share
        self._draw = draw
        self._window: deque[bool] = deque(maxlen=window_lookups)
        self._hits = 0

    @property
    def is_on(self) -> bool:
        """Whether requests go past the cache, but for a sample."""
        return len(self._window) == self._window.maxlen and self._hits < self._min_hits

    @property
    def hit_rate(self) -> float:
        """Share of the last lookups that spared a computation; 0 before the first."""
        return self._hits / len(self._window) if self._window else 0.0

    def takes_past(self) -> bool:
        """Decide about one request."""
        return self.is_on and self._draw() >= self._sample_share

    def record(self, *, is_hit: bool) -> None:
        """Learn from one lookup."""
        if len(self._window) == self._window.maxlen:
            self._hits -= self._window[0]
        self._window.append(is_hit)
        self._hits += is_hit
