"""The plots of the benchmark page, of a comparison."""

from collections.abc import Mapping

from bench.plan import CONNECTIONS
from bench.plots import Axis, Point, draw_bars, draw_lines
from bench.records import Comparison, median
from bench.servers import LIGHTBOX

CEILING = "no server: the ceiling"


def draw_charts(comparison: Comparison) -> Mapping[str, str]:
    """Return every plot that there are figures for, as SVG by file name."""
    charts = {"bench-throughput.svg": _draw_throughput(comparison)}
    if open_loop := _draw_open_loop(comparison):
        charts["bench-goodput.svg"] = open_loop
    if queue := _draw_connections(comparison):
        charts["bench-connections.svg"] = queue
    if memory := _draw_memory(comparison):
        charts["bench-memory.svg"] = memory
    return charts


def _draw_throughput(comparison: Comparison) -> str:
    series: dict[str, list[float | None]] = {
        _plain(participant.name): [comparison.images_per_s(participant.key, connections) for connections in CONNECTIONS]
        for participant in comparison.participants
        if participant.unavailable is None
    }
    series[CEILING] = [None if level == 1 else comparison.ceiling("images_per_s") for level in CONNECTIONS]
    highest = max(value for values in series.values() for value in values if value is not None)
    groups = [f"{level} connection{'s' if level > 1 else ''}" for level in CONNECTIONS]
    return draw_bars("Closed loop", Axis("images/s", 0, highest * 1.05), groups, series)


def _draw_open_loop(comparison: Comparison) -> str | None:
    series: dict[str, list[Point]] = {}
    for participant in comparison.participants:
        shares = sorted({run.level for run in comparison.select(participant.key, "open")})
        points = [(share, _goodput_share(comparison, participant.key, share)) for share in shares]
        if present := [(share, value) for share, value in points if value is not None]:
            series[_plain(participant.name)] = present
    shares = sorted({share for points in series.values() for share, _ in points})
    if len(shares) < 2:
        return None
    x = Axis("offered, as a share of the server's own capacity", shares[0], shares[-1], is_logarithmic=True)
    y = Axis("answered within the target, as a share of capacity", 0, 1.1)
    return draw_lines("Open loop", x, y, series, x_ticks=shares)


def _goodput_share(comparison: Comparison, server: str, share: float) -> float | None:
    return median(
        run.goodput_per_s * share / run.offered_per_s
        for run in comparison.select(server, "open", share)
        if run.goodput_per_s is not None and run.offered_per_s
    )


def _draw_connections(comparison: Comparison) -> str | None:
    levels = sorted({run.level for run in comparison.select(LIGHTBOX, "closed")})
    if len(levels) <= len(CONNECTIONS):
        return None
    series: dict[str, list[Point]] = {}
    for name, field in (("p50", "p50_ms"), ("p99", "p99_ms")):
        points = [
            (level, median(getattr(run, field) for run in comparison.select(LIGHTBOX, "closed", level)))
            for level in levels
        ]
        series[name] = [(level, value) for level, value in points if value]
    values = [value for points in series.values() for _, value in points]
    x = Axis("connections", levels[0], levels[-1], is_logarithmic=True)
    y = Axis("latency, ms", min(values) / 1.5, max(values) * 1.5, is_logarithmic=True)
    return draw_lines("Lightbox: latency against connections", x, y, series, x_ticks=levels)


def _draw_memory(comparison: Comparison) -> str | None:
    samples = comparison.memory_samples
    if len(samples) < 2:
        return None
    points = [(sample.elapsed_s / 60, sample.memory_bytes / 1e6) for sample in samples]
    x = Axis("minutes of load", 0, points[-1][0])
    y = Axis("memory, MB", 0, max(value for _, value in points) * 1.1)
    return draw_lines("Lightbox, 2 workers: memory under load", x, y, {"PSS": points}, x_ticks=x.ticks())


def _plain(name: str) -> str:
    return name.replace("`", "")
