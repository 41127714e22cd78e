"""Measure what the second output of a served graph, its last feature map, costs answers that do not read it.

    python -m bench.second_output --json

The graph is loaded with the output, without it, and without it once more, as the control: one thread each. They
classify an image in short blocks that take turns, in an order that changes. What counts is the processor time of the
process, which other work on the machine disturbs least. Two loads of the same graph differ by up to 3 %, by where
weights and buffers lie in memory, so all three are loaded anew 12 times, and each load counts once. Answers have to be
the same bits.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from bench.environment import describe_environment, write_result
from bento_service.domain.model_names import BUNDLED_NAMES
from bento_service.domain.models import StoredModel
from bento_service.engines.base import Engine
from bento_service.engines.choice import EngineKind, create_engine
from bento_service.models.store import BentoModelStore
from bento_service.preparation.prepare import prepare_missing

_ENGINES: tuple[EngineKind, ...] = ("openvino", "onnxruntime")
_LOADS = 12
_BLOCKS = 9
_UNCOUNTED, _RUNS = 3, 15
"""Of each of a graph's blocks, which come first, second and third equally often."""


def main() -> None:
    """Measure a model on each CPU engine, and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="write bench/results/second_output-DATE.json")
    parser.add_argument("--model", default=BUNDLED_NAMES[0], choices=BUNDLED_NAMES)
    parser.add_argument("--loads", type=int, default=_LOADS)
    options = parser.parse_args()
    figures = {}
    with TemporaryDirectory() as folder:
        store = BentoModelStore(Path(folder, "models"))
        prepare_missing([options.model], store, lambda model, step: print(f"{model}: {step}", file=sys.stderr))
        stored = store.load(options.model)
        plain = replace(stored, onnx_path=_drop_features(stored.onnx_path, Path(folder, "plain.onnx")))
        for kind in _ENGINES:
            figures[kind] = _compare(kind, plain, stored, options.loads)
            print(f"{options.model} on {kind}:", json.dumps(figures[kind], indent=2))
    if options.json:
        environment = describe_environment("python -m bench.second_output --json", ("openvino", "onnxruntime", "numpy"))
        print(write_result("second_output", {**environment, "model": options.model, "figures": figures}))


def _drop_features(onnx_path: Path, target: Path) -> Path:
    """Write a graph without its second output; return the path."""
    import onnx  # noqa: PLC0415

    model = onnx.load(onnx_path)
    del model.graph.output[1:]
    onnx.save(model, target)
    return target


def _compare(kind: EngineKind, plain: StoredModel, stored: StoredModel, loads: int) -> dict[str, object]:
    """Return the images a second of both other graphs as shares of those of the plain one."""
    image = np.random.default_rng(0).integers(0, 256, (1, *stored.card.recipe.shape_hwc), dtype=np.uint8)
    models = (plain, stored, plain)
    is_same = True
    times: list[list[float]] = []
    reading_ms: list[float] = []
    for number in range(loads):
        with ExitStack() as open_engines:
            # Each is the first, the second and the third to be loaded equally often.
            order = [(number + place) % len(models) for place in range(len(models))]
            engines: dict[int, Engine] = {}
            for index in order:
                engine = create_engine(kind, "cpu", models[index], lanes=1, threads=1)
                engines[index] = open_engines.enter_context(closing(engine))
            without, with_output = engines[0], engines[1]
            answers = with_output.infer(image), with_output.infer_with_features(image)[0]
            is_same &= all(np.array_equal(without.infer(image), answer) for answer in answers)
            times.append(_time_in_turn([engines[index].infer for index in range(len(models))], image))
            reading_ms.append(statistics.median(_time_ms(with_output.infer_with_features, image) for _ in range(_RUNS)))
    return {
        "same bits": is_same,
        "images a second, share": _summarise([plain_ms / with_ms for plain_ms, with_ms, _ in times]),
        "control, share": _summarise([plain_ms / control_ms for plain_ms, _, control_ms in times]),
        "ms an image without": round(statistics.median(plain_ms for plain_ms, _, _ in times), 3),
        "ms an image with": round(statistics.median(with_ms for _, with_ms, _ in times), 3),
        "ms an image with features read": round(statistics.median(reading_ms), 3),
        "loads": loads,
    }


def _time_in_turn(infers: Sequence[Callable[[NDArray[np.uint8]], object]], image: NDArray[np.uint8]) -> list[float]:
    """Return the median milliseconds of each, run in blocks: weights are in the caches, as they are in a service."""
    times: list[list[float]] = [[] for _ in infers]
    for number in range(_BLOCKS * len(infers)):
        index = (number + number // len(infers)) % len(infers)
        for _ in range(_UNCOUNTED):
            infers[index](image)
        times[index] += [_time_ms(infers[index], image) for _ in range(_RUNS)]
    return [statistics.median(one) for one in times]


def _time_ms(infer: Callable[[NDArray[np.uint8]], object], image: NDArray[np.uint8]) -> float:
    begun_s = time.process_time()
    infer(image)
    return (time.process_time() - begun_s) * 1000


def _summarise(shares: Sequence[float]) -> dict[str, float | list[float]]:
    """Return the geometric mean and its 95 % interval (twice the standard error)."""
    logs = np.log(shares)
    mean, error = logs.mean(), 2 * logs.std(ddof=1) / np.sqrt(len(logs))
    return {
        "mean": round(float(np.exp(mean)), 4),
        "95 % interval": [round(float(np.exp(mean - error)), 4), round(float(np.exp(mean + error)), 4)],
    }


if __name__ == "__main__":
    main()
