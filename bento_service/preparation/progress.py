"""How far the long step of an import is: counted in images, announced at each quarter."""

from collections.abc import Callable


class Progress:
    """Counts images of a step that runs `total` of them; `show` is called with the percentage after each addition."""

    def __init__(self, total: int, show: Callable[[int], None]) -> None:
        self._total = total
        self._show = show
        self._done = 0

    def add(self, images: int) -> None:
        """Count images that have run."""
        self._done += images
        self._show(100 * self._done // self._total)


class Quarters:
    """Announces a step with its percentage, each time that a further quarter of it is done."""

    def __init__(self, step: str, announce: Callable[[str], None]) -> None:
        self._step = step
        self._announce = announce
        self._announced = 0

    def show(self, percent: int) -> None:
        """Take the percentage; announce it where a quarter is over."""
        if percent // 25 > self._announced:
            self._announced = percent // 25
            self._announce(f"{self._step}: {min(percent, 100)}%")
