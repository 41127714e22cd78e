"""When the requests of an open loop arrive: settled before the first is sent, whatever the server does."""

import numpy as np
from numpy.typing import NDArray


def draw_arrivals(rate_per_s: float, duration_s: float, seed: int) -> NDArray[np.float64]:
    """Draw the arrivals of a Poisson process over `[0, duration_s)`, as seconds, ascending.

    The process is conditioned on its count: exactly `round(rate_per_s * duration_s)` arrivals, so that the rate offered
    is the rate named and no draw of it. Exponential gaps divided by their sum are such a draw (Devroye, Non-Uniform
    Random Variate Generation, 1986, V.2). The same arguments give the same arrivals.

    Raises:
        ValueError: No arrival would fall into the time.
    """
    count = round(rate_per_s * duration_s)
    if count < 1:
        raise ValueError(f"{rate_per_s:g} requests/s for {duration_s:g} s is less than one request; ask for more")
    gaps = np.random.default_rng(seed).exponential(size=count + 1)
    arrivals: NDArray[np.float64] = np.cumsum(gaps)[:-1] * (duration_s / gaps.sum())
    return arrivals
