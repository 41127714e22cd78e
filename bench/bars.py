"""What Lightbox set out to reach, and whether a comparison shows it: computed from its figures."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from bench.records import NOT_MEASURED, CacheRatios, Comparison, Run, median
from bench.servers import LIGHTBOX

MAX_WORKERS_MEMORY_BYTES = 450_000_000
LEVEL_GROWTH = 1.05
"""Memory counts as level if the last third of a long load holds at most this many times what the second did."""
CEILING_NOISE = 1.05
"""No server is faster than its work without it: a larger share of the ceiling is the machine's, not the server's."""
_BUSY = (16, 64)


@dataclass(frozen=True, slots=True)
class Bar:
    """One aim: what is measured, what was aimed at, what was found. `is_reached` is None where it was not measured."""

    measure: str
    aim: str
    found: str
    is_reached: bool | None

    @property
    def verdict(self) -> str:
        """The last column of its row."""
        return {None: "not measured", True: "reached", False: "**not reached**"}[self.is_reached]


def list_bars(comparison: Comparison, cache: CacheRatios = NOT_MEASURED) -> list[Bar]:
    """Return every bar in the order in which they are shown; the cache's are of a run of its own."""
    return [
        *_against_ceiling(comparison),
        *_against_peers(comparison),
        *_preparation(comparison),
        _lone(comparison),
        _steady(comparison),
        *_overload(comparison),
        _step(comparison),
        _at_least("images that never repeat, with the cache: images/s", cache.unique, 0.97, "without it"),
        _at_least("images that repeat, with the cache: images/s", cache.repeated, 10, "without it"),
        _memory(comparison),
        _level_memory(comparison),
        Bar("GPU: images/s beside LitServe, BentoML and a bare CUDA-graph loop", "≥ 3 ×, ≥ 0.8 ×", "", None),
    ]


def best_rate(comparison: Comparison, server: str, connections: int) -> float | None:
    """Return the better of a server's median rates with one and with two workers: no peer is held to its worse one."""
    rates = [comparison.images_per_s(server, connections, workers=workers) for workers in (1, 2)]
    return max((rate for rate in rates if rate is not None), default=None)


def _at_least(measure: str, ratio: float | None, least: float, of_what: str) -> Bar:
    found = "" if ratio is None else f"{ratio:.2f}"
    return Bar(measure, f"≥ {least:g} × {of_what}", found, None if ratio is None else ratio >= least)


def _at_most(measure: str, value: float | None, most: float, unit: str) -> Bar:
    shown = "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    found = f"{shown} {unit}".strip() if shown else ""
    return Bar(measure, f"≤ {most:g} {unit}".strip(), found, None if value is None else value <= most)


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def _against_ceiling(comparison: Comparison) -> Iterator[Bar]:
    for connections in _BUSY:
        # Round by round: the machine itself is not equally fast in each.
        runs = comparison.select(LIGHTBOX, "closed", connections)
        ratio = median(run.images_per_s / comparison.ceilings[run.round].images_per_s for run in runs)
        bar = _at_least(f"images/s, {connections} connections", ratio, 0.95, "the in-process ceiling")
        is_noise = ratio is not None and ratio > CEILING_NOISE
        yield replace(bar, found=f"{bar.found}, above the ceiling: noise") if is_noise else bar


def _against_peers(comparison: Comparison) -> Iterator[Bar]:
    least = {"batching": 1.3, "unbatched": 1.0, "eager": 4.0}
    for participant in comparison.participants:
        if participant.kind not in least:
            continue
        for connections in _BUSY:
            ours = comparison.images_per_s(LIGHTBOX, connections)
            theirs = best_rate(comparison, participant.key, connections)
            measure = f"images/s, {connections} connections"
            yield _at_least(measure, _ratio(ours, theirs), least[participant.kind], participant.name)


def _preparation(comparison: Comparison) -> Iterator[Bar]:
    for prefix, photographs, least in (("", "small photographs", 1.5), ("large_", "12-megapixel photographs", 4.0)):
        ours = comparison.ceiling(f"{prefix}prepare_per_s")
        tutorial = comparison.ceiling(f"{prefix}tutorial_prepare_per_s")
        yield _at_least(f"decode and resize, {photographs}", _ratio(ours, tutorial), least, "Pillow + torchvision")


def _lone(comparison: Comparison) -> Bar:
    runs = comparison.select(LIGHTBOX, "closed", 1)
    ratios = [run.p50_ms / comparison.ceilings[run.round].lone_p50_ms for run in runs if run.p50_ms is not None]
    ratio = median(ratios)
    bar = _at_most("one connection: p50 beside decode + the bare engine on all threads", ratio, 1.15, "×")
    is_noise = ratio is not None and ratio < 1 / CEILING_NOISE
    return replace(bar, found=f"{bar.found}, below the bare engine: noise") if is_noise else bar


def _steady(comparison: Comparison) -> Bar:
    runs = comparison.select(LIGHTBOX, "open", 0.8)
    lone_ms = median(run.p50_ms for run in comparison.select(LIGHTBOX, "closed", 1))
    failures = sum(run.failed + run.refused for run in runs)
    measure, aim = "open loop at 80 % of capacity: p99", "≤ 4 × the one-connection p50, no failure"
    ratio = _ratio(median(run.p99_ms for run in runs), lone_ms)
    if ratio is None:
        return Bar(measure, aim, "", None)
    return Bar(measure, aim, f"{ratio:.1f} ×, {failures} failed or refused", ratio <= 4 and failures == 0)


def _overload(comparison: Comparison) -> Iterator[Bar]:
    runs = comparison.select(LIGHTBOX, "open", 4.0)
    goodputs = [_share_of_capacity(run) for run in runs]
    yield _at_least("overload at 4 × capacity: goodput", median(goodputs), 0.95, "capacity")
    refused_ms = median(run.refused_p99_ms for run in runs)
    yield _at_most("overload at 4 × capacity: p99 of refusals", refused_ms, 20, "ms")
    answered_ms = median(run.p99_ms for run in runs)
    yield _at_most("overload at 4 × capacity: p99 of answers", answered_ms, comparison.target_ms, "ms")
    failed = sum(run.failed + run.not_ready for run in runs) if runs else None
    yield _at_most("overload at 4 × capacity: neither 200 nor 429", failed, 0, "")


def _share_of_capacity(run: Run) -> float | None:
    if run.goodput_per_s is None or not run.offered_per_s:
        return None
    return run.goodput_per_s / (run.offered_per_s / run.level)


def _step(comparison: Comparison) -> Bar:
    measure, aim = (
        "from idle to 90 % of capacity at once, just started: p99 after 1 s",
        f"≤ {comparison.target_ms:g} ms, no failure",
    )
    late_ms = median(step.late_p99_ms for step in comparison.steps)
    if late_ms is None:
        return Bar(measure, aim, "", None)
    failures = sum(step.failed + step.refused for step in comparison.steps)
    found = f"{late_ms:.0f} ms, {failures} failed or refused"
    return Bar(measure, aim, found, late_ms <= comparison.target_ms and failures == 0)


def _memory(comparison: Comparison) -> Bar:
    runs = [run for connections in _BUSY for run in comparison.select(LIGHTBOX, "closed", connections, workers=2)]
    used = [(run.memory_bytes - (run.master_bytes or 0), run.memory_bytes) for run in runs if run.memory_bytes]
    workers, everything = max(used, default=(None, 0))
    megabytes = None if workers is None else workers / 1e6
    bar = _at_most("memory, 2 workers together, under load", megabytes, MAX_WORKERS_MEMORY_BYTES / 1e6, "MB")
    return bar if workers is None else replace(bar, found=f"{bar.found}; {everything / 1e6:.0f} with BentoML's master")


def _level_memory(comparison: Comparison) -> Bar:
    measure, aim = "memory, 2 workers, over a load of 10 minutes", f"last third ≤ {LEVEL_GROWTH:g} × the second"
    samples = [sample.memory_bytes for sample in comparison.memory_samples]
    third = len(samples) // 3
    if not third:
        return Bar(measure, aim, "", None)
    second, last = (median(part) for part in (samples[third : 2 * third], samples[2 * third :]))
    growth = _ratio(last, second)
    if growth is None:
        return Bar(measure, aim, "", None)
    return Bar(measure, aim, f"{growth:.3f} ×", growth <= LEVEL_GROWTH)
