"""Why rollups hold plain histograms rather than sketches of the `ddsketch` package: `python -m bench.sketches --json`.

Both keep DDSketch's bound of 1 %. Compared is what the journal does with them: fill from a second of traffic, encode,
and read back and merge those of many rollups.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ddsketch import DDSketch
from ddsketch.pb import ddsketch_pb2
from ddsketch.pb.proto import DDSketchProto
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.environment import describe_environment, write_result
from bento_service.journal.histograms import BIN_ERROR, SparseHistogram, find_bins

SKETCHES = 1_000
VALUES_A_SKETCH = 130

# The package has no types.
_PROTO: Any = DDSketchProto


def fill_sketch(durations_ms: NDArray[np.float64]) -> bytes:
    """Return the package's sketch of durations, encoded by its own protobuf message."""
    sketch = DDSketch(BIN_ERROR)
    for duration_ms in durations_ms.tolist():
        sketch.add(duration_ms)
    encoded: bytes = _PROTO.to_proto(sketch).SerializeToString()
    return encoded


def merge_sketches(encoded: Sequence[bytes]) -> None:
    """Read the package's sketches and merge them."""
    merged = DDSketch(BIN_ERROR)
    for data in encoded:
        message = ddsketch_pb2.DDSketch()
        message.ParseFromString(data)
        merged.merge(_PROTO.from_proto(message))


def fill_tally(durations_ms: NDArray[np.float64]) -> bytes:
    """Return the journal's histogram of durations, encoded."""
    return SparseHistogram.count(find_bins(durations_ms).tolist()).encode()


def merge_tallies(encoded: Sequence[bytes]) -> None:
    """Read the journal's histograms and add them up."""
    SparseHistogram.add_up([SparseHistogram.decode(data) for data in encoded])


def measure(fill: Callable[[NDArray[np.float64]], bytes], merge: Callable[[Sequence[bytes]], None]) -> dict[str, float]:
    """Return microseconds a sketch, and its size."""
    durations_ms = np.random.default_rng(1).lognormal(3, 0.6, (SKETCHES, VALUES_A_SKETCH))
    start_s = time.perf_counter()
    encoded = [fill(row) for row in durations_ms]
    filled_s = time.perf_counter()
    merge(encoded)
    merged_s = time.perf_counter()
    return {
        "fill and encode, µs": (filled_s - start_s) * 1e6 / SKETCHES,
        "decode and merge, µs": (merged_s - filled_s) * 1e6 / SKETCHES,
        "encoded, bytes": sum(map(len, encoded)) / SKETCHES,
    }


def main() -> None:
    """Measure both and print; keep the figures where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="keep the figures in bench/results")
    arguments = parser.parse_args()
    results = {"ddsketch": measure(fill_sketch, merge_sketches), "journal": measure(fill_tally, merge_tallies)}

    table = Table("a sketch of 130 durations", *results)
    for cost in results["journal"]:
        table.add_row(cost, *(f"{figures[cost]:.1f}" for figures in results.values()))
    console = Console()
    console.print(table)
    if arguments.json:
        environment = describe_environment("python -m bench.sketches --json", ("ddsketch", "protobuf", "numpy"))
        console.print(f"Kept in {write_result('sketches', {**environment, 'results': results})}")


if __name__ == "__main__":
    main()
