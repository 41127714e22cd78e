"""The policy in simulated time: Poisson arrivals, and a device that is one for all lanes or one a lane."""

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from statistics import quantiles

import pytest

from bento_service.domain.requests import Priority
from bento_service.domain.runner import EngineMode
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.model_queue import ArrivalRate
from bento_service.scheduling.policy import Hold, Lanes, Line, Outlook, choose_bounds, decide

CPU = CostModel({1: 10.0, 2: 20.2, 4: 40.8, 8: 82.0, 16: 164.0, 32: 330.0})
GPU = CostModel({1: 2.0, 2: 2.1, 4: 2.4, 8: 3.0, 16: 4.6, 32: 8.0, 64: 15.0})
FIXED = [(1, 0.0), (8, 5.0), (32, 10.0), (32, 50.0)]
"""Batch size and time-out, in milliseconds, as they are commonly set."""
TURN_MS = 1.0
"""A tenth of an image on a CPU, half of the policy's estimate (docs/adr/0007-adaptive-runner.md); on a GPU unknown."""
TARGET_MS = 1000.0

Decide = Callable[[float, int, float, Lanes, float], int | float]
"""Takes the time, how many wait, since when, the lanes and the arrival rate; returns a batch size, or until when to
hold, as a float."""


def adaptive(curve: CostModel) -> Decide:
    """Make the policy of the service."""
    knee, ceiling = choose_bounds(curve.curve_ms(), budget_ms=0.25 * TARGET_MS)
    curves: Mapping[EngineMode, CostModel] = {EngineMode.THROUGHPUT: curve}

    def choose(now_s: float, length: int, oldest_s: float, lanes: Lanes, rate: float) -> int | float:
        line = Line("a", Priority.INTERACTIVE, length, oldest_s, ceiling, knee, curves, arrivals_per_s=rate)
        decision = decide([line], lanes, Outlook(0, 0, rate), target_ms=TARGET_MS, now_s=now_s)
        if isinstance(decision, Hold):
            return decision.until_s
        return decision.size if decision else now_s

    return choose


def fixed(size: int, timeout_ms: float) -> Decide:
    """Make the policy of most servers: a batch goes as it is full, or as its oldest image has waited so long."""

    def choose(now_s: float, length: int, oldest_s: float, lanes: Lanes, rate: float) -> int | float:
        ready_s = oldest_s + timeout_ms / 1000
        return min(size, length) if length >= size or now_s >= ready_s - 1e-9 else ready_s

    return choose


@dataclass(frozen=True)
class Outcome:
    """What a run came to. Latencies are from arrival to answer."""

    images_per_s: float
    p50_ms: float
    p99_ms: float


@dataclass
class Simulation:
    """One policy under load. On a shared device a batch starts as the one before it ends, whichever lane it is on.

    `turn_ms` is the fixed overhead of each batch; see `policy.choose_bounds`.
    """

    choose: Decide
    curve: CostModel
    lanes: int
    has_shared_device: bool
    turn_ms: float
    latencies_ms: list[float] = field(default_factory=list)

    def run(self, *, rate_per_s: float, images: int) -> Outcome:
        """Serve so many images that arrive at this rate."""
        random = Random(1)  # noqa: S311 (repeatable, not secret)
        arrivals_s, now_s = [], 0.0
        for _ in range(images):
            now_s += random.expovariate(rate_per_s)
            arrivals_s.append(now_s)
        arrived = taken = 0
        ends: list[float] = []
        device_free_s, hold_s = 0.0, math.inf
        rate = ArrivalRate()
        while taken < images:
            next_s = arrivals_s[arrived] if arrived < images else math.inf
            now_s = min(next_s, ends[0] if ends else math.inf, hold_s)
            hold_s = math.inf
            if now_s == next_s:
                rate.note(now_s)
                arrived += 1
            while ends and ends[0] <= now_s:
                heapq.heappop(ends)
            while taken < arrived and len(ends) < self.lanes:
                state = Lanes(self.lanes, self.lanes - len(ends), tuple(ends), now_s)
                choice = self.choose(now_s, arrived - taken, arrivals_s[taken], state, rate.per_s(now_s))
                if isinstance(choice, float):
                    hold_s = choice
                    break
                begin_s = max(now_s, device_free_s) if self.has_shared_device else now_s
                end_s = begin_s + (self.curve.predict_ms(choice) + self.turn_ms) / 1000
                device_free_s = end_s
                heapq.heappush(ends, end_s)
                self.latencies_ms += [(end_s - each) * 1000 for each in arrivals_s[taken : taken + choice]]
                taken += choice
        cuts = quantiles(self.latencies_ms, n=100)
        return Outcome(images / max(ends), cuts[49], cuts[98])


def run(choose: Decide, curve: CostModel, rate_per_s: float) -> Outcome:
    simulation = Simulation(
        choose, curve, lanes=2, has_shared_device=curve is GPU, turn_ms=0.0 if curve is GPU else TURN_MS
    )
    return simulation.run(rate_per_s=rate_per_s, images=6000)


@pytest.mark.parametrize("batch", FIXED)
@pytest.mark.parametrize(("curve", "rate_per_s"), [(CPU, 400.0), (GPU, 10_000.0)])
def test_above_capacity_it_gives_as_many_images_a_second_as_any_fixed_batch(
    curve: CostModel, rate_per_s: float, batch: tuple[int, float]
) -> None:
    ours = run(adaptive(curve), curve, rate_per_s)
    assert ours.images_per_s >= 0.98 * run(fixed(*batch), curve, rate_per_s).images_per_s


@pytest.mark.parametrize("batch", FIXED)
@pytest.mark.parametrize(
    ("curve", "rate_per_s"), [(CPU, 20.0), (CPU, 100.0), (CPU, 160.0), (GPU, 100.0), (GPU, 1000.0), (GPU, 3000.0)]
)
def test_below_capacity_no_fixed_batch_answers_much_sooner(
    curve: CostModel, rate_per_s: float, batch: tuple[int, float]
) -> None:
    ours = run(adaptive(curve), curve, rate_per_s)
    theirs = run(fixed(*batch), curve, rate_per_s)
    assert ours.p50_ms <= 1.15 * theirs.p50_ms
    assert ours.p99_ms <= 1.15 * theirs.p99_ms


@pytest.mark.parametrize(("curve", "rate_per_s"), [(CPU, 160.0), (GPU, 3000.0)])
def test_near_capacity_it_meets_the_target_with_room_to_spare(curve: CostModel, rate_per_s: float) -> None:
    assert run(adaptive(curve), curve, rate_per_s).p99_ms <= 250
