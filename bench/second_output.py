"""Measure what the second output of a served graph, its last feature map, costs answers that do not read it.

    python -m bench.second_output --json

Each bundled model is loaded twice, with the output and without it, on one thread. Both classify the same image in
turn, in an order that changes with each pair of runs. What counts is the processor time of the process, which other
work on the machine disturbs least. Both are loaded anew five times, since where weights and buffers lie in memory
decides too. Answers have to be the same bits.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
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
_LOADS = 5
_PAIRS = 200
_QUANTILES = 40
"""Of which the first and the last leave 2.5 % out each."""


def main() -> None:
    """Measure each model on each CPU engine, and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="write bench/results/second_output-DATE.json")
    parser.add_argument("--pairs", type=int, default=_PAIRS, help="pairs of runs of each load of a model on an engine")
    options = parser.parse_args()
    figures = {}
    with TemporaryDirectory() as folder:
        store = BentoModelStore(Path(folder, "models"))
        prepare_missing(BUNDLED_NAMES, store, lambda model, step: print(f"{model}: {step}", file=sys.stderr))
        for name in BUNDLED_NAMES:
            stored = store.load(name)
            plain = replace(stored, onnx_path=_drop_features(stored.onnx_path, Path(folder, f"{name}.onnx")))
            for kind in _ENGINES:
                figures[f"{name} on {kind}"] = found = _compare(kind, plain, stored, options.pairs)
                print(f"{name} on {kind}:", json.dumps(found, indent=2))
    if options.json:
        environment = describe_environment("python -m bench.second_output --json", ("openvino", "onnxruntime", "numpy"))
        print(write_result("second_output", {**environment, "figures": figures}))


def _drop_features(onnx_path: Path, target: Path) -> Path:
    """Write a graph without its second output; return the path."""
    import onnx  # noqa: PLC0415

    model = onnx.load(onnx_path)
    del model.graph.output[1:]
    onnx.save(model, target)
    return target


def _compare(kind: EngineKind, plain: StoredModel, stored: StoredModel, pairs: int) -> dict[str, object]:
    """Return the images a second of the graph with the second output as a share of those of the graph without it."""
    shape = (1, *stored.card.recipe.shape_hwc)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    is_same = True
    rates: list[tuple[float, float]] = []
    reading_ms: list[float] = []
    for number in range(_LOADS):
        with ExitStack() as engines:
            models = (plain, stored) if number % 2 else (stored, plain)
            loaded = [create_engine(kind, "cpu", model, lanes=1, threads=1) for model in models]
            for engine in loaded:
                engines.enter_context(closing(engine))
            with_output, without = sorted(loaded, key=lambda engine: not engine.has_features)
            answers = with_output.infer(images), with_output.infer_with_features(images)[0]
            is_same &= all(np.array_equal(without.infer(images), answer) for answer in answers)
            rates += _run_pairs(without, with_output, images, pairs)
            reading_ms += [_time_ms(with_output.infer_with_features, images) for _ in range(pairs // 5)]
    shares = sorted(plain_ms / with_ms for plain_ms, with_ms in rates)
    bounds = statistics.quantiles(_resample(shares), n=_QUANTILES)
    return {
        "same bits": is_same,
        "images a second, share": round(statistics.median(shares), 4),
        "95 % interval": [round(bounds[0], 4), round(bounds[-1], 4)],
        "ms an image without": round(statistics.median(plain_ms for plain_ms, _ in rates), 4),
        "ms an image with": round(statistics.median(with_ms for _, with_ms in rates), 4),
        "ms an image with features read": round(statistics.median(reading_ms), 4),
        "pairs": len(rates),
    }


def _run_pairs(
    without: Engine, with_output: Engine, images: NDArray[np.uint8], pairs: int
) -> Iterator[tuple[float, float]]:
    """Yield the milliseconds of an image of both graphs, run one after the other; every second time in reverse."""
    for engine in (without, with_output):
        engine.infer(images)
    for number in range(pairs):
        if number % 2:
            with_ms, plain_ms = _time_ms(with_output.infer, images), _time_ms(without.infer, images)
        else:
            plain_ms, with_ms = _time_ms(without.infer, images), _time_ms(with_output.infer, images)
        yield plain_ms, with_ms


def _time_ms(infer: Callable[[NDArray[np.uint8]], object], images: NDArray[np.uint8]) -> float:
    begun_s = time.process_time()
    infer(images)
    return (time.process_time() - begun_s) * 1000


def _resample(shares: list[float]) -> list[float]:
    """Return the medians of samples with replacement (Efron's bootstrap)."""
    random = np.random.default_rng(0)
    return [float(np.median(random.choice(shares, len(shares)))) for _ in range(2000)]


if __name__ == "__main__":
    main()
