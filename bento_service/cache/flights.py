"""Computations in flight, and who else waits for them."""

import asyncio

from bento_service.cache.base import CachedResult
from bento_service.errors import LightboxError

Landing = CachedResult | LightboxError | None
"""How a flight ended: with a result, with an error that is the image's own, or by its leader's doing (None)."""


class Flight:
    """One computation that identical requests share. Used on one event loop.

    Each follower waits on a future of its own: cancelling one touches neither the computation nor the other followers.
    """

    def __init__(self) -> None:
        self._followers: list[asyncio.Future[Landing]] = []

    async def follow(self) -> Landing:
        """Wait until it has landed."""
        landed: asyncio.Future[Landing] = asyncio.get_running_loop().create_future()
        self._followers.append(landed)
        return await landed

    def land(self, landing: Landing) -> None:
        """Tell everyone who still waits."""
        for follower in self._followers:
            if not follower.done():
                follower.set_result(landing)
