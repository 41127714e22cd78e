"""Measure the memory that a model takes once it is loaded."""

from contextlib import closing
from pathlib import Path

import numpy as np
import psutil

from bento_service.domain.models import ModelCard
from bento_service.engines.openvino_engine import OpenVINOEngine, share_core
from bento_service.machine import choose_workers, count_cpus, divide


def measure_load(onnx_path: Path, card: ModelCard) -> int:
    """Return the bytes by which this process grows as it loads a model into OpenVINO, as a worker does, and runs it.

    What OpenVINO takes without any model is not in it. Call it in a process that has not loaded a model yet: another
    would find memory that was freed.

    Raises:
        ModelLoadError: OpenVINO cannot load it.
    """
    import openvino

    image = openvino.opset13.parameter([1, 1], np.float32)
    core = share_core()
    core.compile_model(openvino.Model([image], [image], "nothing"), "CPU")
    process = psutil.Process()
    before_bytes = process.memory_info().rss
    cpus = count_cpus()
    workers = choose_workers(cpus)
    share = divide(cpus, workers=workers, device_kind="cpu")
    lanes, threads = share.lanes, share.compute_threads
    with closing(OpenVINOEngine(onnx_path, card, lanes=lanes, threads=threads, workers=workers)) as engine:
        recipe = card.recipe
        engine.infer(np.zeros((lanes, recipe.height_px, recipe.width_px, recipe.channel_count), np.uint8))
        return max(0, process.memory_info().rss - before_bytes)
