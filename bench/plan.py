"""How long a comparison measures what: the defaults fit into 25 minutes on two cores, `--quick` into six."""

from collections.abc import Sequence
from dataclasses import dataclass

CONNECTIONS = (1, 16, 64)
SHARES = (0.5, 0.8, 1.0, 2.0, 4.0)
"""Of a server's capacity, as a closed loop of the same session and client showed it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a comparison does.

    Every round measures the ceiling and every server's closed loops, and Lightbox's open loops. What takes long
    and backs no bar is measured in the first round only: the peers' open loops and second workers, whose loads are
    `peer_seconds` long, and large photographs.
    """

    rounds: int
    seconds: int
    peer_seconds: int = 3
    warm_seconds: int = 2
    step_seconds: int = 8
    shares: Sequence[float] = SHARES
    growth_connections: Sequence[int] = (2, 8, 32, 128)
    model_counts: Sequence[int] = (1, 3, 6)
    peers_scale: bool = True
    long_minutes: int = 0


def make_plan(*, quick: bool, long: bool, rounds: int | None, seconds: int | None) -> Plan:
    """Turn the command line's wishes into a plan."""
    long_minutes = 10 if long else 0
    if not quick:
        seconds = seconds or 5
        return Plan(rounds=rounds or 3, seconds=seconds, peer_seconds=min(3, seconds), long_minutes=long_minutes)
    return Plan(
        rounds=rounds or 1,
        seconds=seconds or 2,
        peer_seconds=min(2, seconds or 2),
        warm_seconds=2,
        step_seconds=4,
        shares=(0.8, 4.0),
        growth_connections=(),
        model_counts=(1,),
        peers_scale=False,
        long_minutes=long_minutes,
    )
