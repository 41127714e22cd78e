import pytest

from bento_service.scheduling.cost_model import CostModel
from tests.unit.scheduling.simulated_lanes import Decide, Outcome, Simulation, adaptive, fixed

CPU = CostModel({1: 10.0, 2: 20.2, 4: 40.8, 8: 82.0, 16: 164.0, 32: 330.0})
GPU = CostModel({1: 2.0, 2: 2.1, 4: 2.4, 8: 3.0, 16: 4.6, 32: 8.0, 64: 15.0})
FIXED = [(1, 0.0), (8, 5.0), (32, 10.0), (32, 50.0)]
"""Batch size and time-out, in milliseconds, as they are commonly set."""
TURN_MS = 1.0
"""A tenth of an image on a CPU, half of the policy's estimate (docs/adr/0007-adaptive-runner.md); on a GPU unknown."""


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
