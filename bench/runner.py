"""What the runner costs an image, and how far a loaded machine's batches stray from the cost model.

Run `python -m bench.runner`; with `--json`, the figures also go to `bench/results/runner-<date>.json`.
"""

import argparse
import asyncio
import math
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bench.environment import describe_environment, write_result
from bento_service.domain.runner import EngineMode
from bento_service.engines.choice import choose_engine, create_engine
from bento_service.machine import count_cpus
from bento_service.models.catalogue import Catalogue
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.execution import Infer
from bento_service.scheduling.model_queue import RunnableModel
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.warmup import measure_costs

PACKAGES = ("openvino", "numpy")
MODEL = "efficientnet_lite0"
CLIENTS = 64
SETTLE = 200
"""Batches after which the cost model is taken to have found the speed under load."""
QUANTILES = (0.5, 0.8, 0.9, 0.95, 0.99, 1.0)


class ObservedCosts(CostModel):
    """A cost model that keeps how far each batch was from its prediction."""

    def __init__(self, measured: CostModel) -> None:
        super().__init__(measured.curve_ms(), bucket_sizes=measured.bucket_sizes)
        self.surprises: list[float] = []

    def learn(self, batch_size: int, duration_ms: float) -> None:
        """Keep the log ratio, then learn."""
        self.surprises.append(math.log(duration_ms / self.predict_ms(batch_size)))
        super().learn(batch_size, duration_ms)


async def keep_busy(scheduler: Scheduler, pixels_hwc: NDArray[np.uint8], images: int) -> None:
    """Run so many images, `CLIENTS` of them at any time."""

    async def run_client() -> None:
        for _ in range(images // CLIENTS):
            await scheduler.submit(MODEL, pixels_hwc, deadline_s=None)

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(run_client())


async def measure_overhead(images: int, *, ceiling: int) -> float:
    """Return the CPU time of one image through the scheduler, of all threads, in microseconds."""
    scores = np.full((ceiling, 1000), 0.001, dtype=np.float32)
    infer: Infer = lambda batch_nhwc, mode: scores[: len(batch_nhwc)]  # noqa: E731 - a function of one line
    cost = CostModel({size: 0.5 + 0.5 * size for size in (1, ceiling)})
    models = {name: RunnableModel(infer, {EngineMode.THROUGHPUT: cost}) for name in (MODEL, "second", "third")}
    scheduler = Scheduler(models, lanes=2, target_ms=1000, clock=time.perf_counter, loop=asyncio.get_running_loop())
    pixels_hwc = np.zeros((224, 224, 3), dtype=np.uint8)
    await keep_busy(scheduler, pixels_hwc, images // 10)
    started_s = time.process_time()
    await keep_busy(scheduler, pixels_hwc, images)
    used_s = time.process_time() - started_s
    await asyncio.to_thread(scheduler.close, timeout_s=5)
    return used_s / images * 1e6


async def measure_surprises(images: int) -> Mapping[str, float]:
    """Return quantiles of how far the duration of a batch was from its prediction, as a log ratio, every lane busy."""
    kind, device = choose_engine("openvino", "cpu")
    stored = Catalogue().load_to_serve(MODEL, kind)
    cpus = count_cpus()
    engine = create_engine(kind, device, stored, lanes=cpus, threads=cpus, workers=1)
    measured = measure_costs(
        engine.infer, stored.card.recipe, modes=engine.modes, sizes=(1, 2, 4, 8), clock=time.perf_counter
    )
    observed = ObservedCosts(measured[EngineMode.THROUGHPUT])
    scheduler = Scheduler(
        {MODEL: RunnableModel(engine.infer, {EngineMode.THROUGHPUT: observed})},
        lanes=cpus,
        target_ms=1000,
        clock=time.perf_counter,
        loop=asyncio.get_running_loop(),
    )
    recipe = stored.card.recipe
    pixels_hwc = np.random.default_rng(0).integers(0, 256, (recipe.height_px, recipe.width_px, 3), dtype=np.uint8)
    await keep_busy(scheduler, pixels_hwc, images)
    await asyncio.to_thread(scheduler.close, timeout_s=5)
    engine.close()
    settled = np.abs(observed.surprises[SETTLE:])
    quantiles = {f"quantile_{share:g}": round(float(np.quantile(settled, share)), 3) for share in QUANTILES}
    return {
        "batches": len(settled),
        "ceiling": scheduler.ceilings()[MODEL],
        "within_0.4": round(float(np.mean(settled <= 0.4)), 3),
        "speed_under_load": round(observed.speed, 2),
        **quantiles,
    }


def main() -> None:
    """Measure, print and perhaps keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3200, help="images that run on the real engine")
    parser.add_argument("--json", action="store_true", help="write bench/results/runner-<date>.json too")
    arguments = parser.parse_args()
    overhead_us = {
        f"ceiling_{ceiling}": round(asyncio.run(measure_overhead(20_000, ceiling=ceiling)), 1) for ceiling in (1, 32)
    }
    figures = {"overhead_us": overhead_us, "surprise": asyncio.run(measure_surprises(arguments.images))}
    Console().print(figures)
    if arguments.json:
        environment = describe_environment("python -m bench.runner --json", PACKAGES)
        Console().print(f"Kept in {write_result('runner', {**environment, **figures})}")


if __name__ == "__main__":
    main()
