"""The plots of the benchmark page, of a comparison."""

from collections.abc import Mapping, Sequence

from bench.plan import CONNECTIONS
from bench.records import Comparison, median
from bench.servers import LIGHTBOX
from bento_service.pages.plots import Axis, Canvas, Guide, Series, draw_lines

CEILING = "no server: the ceiling"
_COLOURS = ("#d1495b", "#30638e", "#00798c", "#edae49", "#6a4c93", "#5b8e7d", "#8d6a4f", "#b5b682", "#777777")
_STYLE_SHEET = "text { font: 12px sans-serif; fill: #333 } .title { font-size: 14px; font-weight: bold } " + (
    ".grid { stroke: #ddd } .guide { stroke: #333; stroke-dasharray: 5 4 } .line { fill: none; stroke-width: 2 } "
)
_CANVAS = Canvas(
    width_px=900,
    height_px=420,
    style_sheet=_STYLE_SHEET
    + "".join(
        f".s{number} {{ stroke: {colour} }} .bar.s{number}, .dot.s{number} {{ fill: {colour} }} "
        for number, colour in enumerate(_COLOURS)
    ),
)


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
    lines = {
        _plain(participant.name): [
            (float(connections), comparison.images_per_s(participant.key, connections)) for connections in CONNECTIONS
        ]
        for participant in comparison.participants
        if participant.unavailable is None
    }
    x = Axis("connections", is_log=True, ticks=CONNECTIONS)
    ceiling = comparison.ceiling("images_per_s")
    guides = [Guide(CEILING, y=ceiling)] if ceiling else []
    return _draw("Closed loop", x, Axis("images/s"), lines, guides)


def _draw_open_loop(comparison: Comparison) -> str | None:
    lines: dict[str, list[tuple[float, float | None]]] = {}
    for participant in comparison.participants:
        shares = sorted({run.level for run in comparison.select(participant.key, "open")})
        points = [(share, _goodput_share(comparison, participant.key, share)) for share in shares]
        if any(value is not None for _, value in points):
            lines[_plain(participant.name)] = points
    shares = sorted({share for points in lines.values() for share, _ in points})
    if len(shares) < 2:
        return None
    x = Axis("offered, as a share of the server's own capacity", is_log=True, ticks=tuple(shares))
    return _draw("Open loop", x, Axis("answered within the target, as a share of capacity"), lines)


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
    lines: dict[str, list[tuple[float, float | None]]] = {}
    for name, field in (("p50", "p50_ms"), ("p99", "p99_ms")):
        lines[name] = [
            (level, median(getattr(run, field) for run in comparison.select(LIGHTBOX, "closed", level)))
            for level in levels
        ]
    x = Axis("connections", is_log=True, ticks=tuple(levels))
    return _draw("Lightbox: latency against connections", x, Axis("latency, ms", is_log=True), lines)


def _draw_memory(comparison: Comparison) -> str | None:
    samples = comparison.memory_samples
    if len(samples) < 2:
        return None
    points = [(sample.elapsed_s / 60, sample.memory_bytes / 1e6) for sample in samples]
    title = "Lightbox, 2 workers: memory under load"
    return _draw(title, Axis("minutes of load"), Axis("memory, MB"), {"PSS": points})


def _draw(
    title: str,
    x: Axis,
    y: Axis,
    lines: Mapping[str, Sequence[tuple[float, float | None]]],
    guides: Sequence[Guide] = (),
) -> str:
    series = [Series(name, f"s{number % len(_COLOURS)}", points) for number, (name, points) in enumerate(lines.items())]
    return draw_lines(x, y, series, guides, title=title, canvas=_CANVAS)


def _plain(name: str) -> str:
    return name.replace("`", "")
