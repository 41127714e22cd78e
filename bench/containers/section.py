"""The section of `docs/benchmarks.md` about containers, made of a result of `bench.containers`."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.bars import Bar
from bench.containers.engine import DASHBOARD, SERVICE
from bench.containers.result import (
    DASHBOARD_START,
    LITE0_START,
    SERVICE_START,
    SIDES,
    STOCK,
    ContainerFigures,
    ImageSize,
    read_figures,
)
from bench.markdown import render_table, shorten_commit

_NOTES = Path(__file__).with_name("notes.md")


def render_section(path: Path | None) -> str:
    """Return the section without its heading; `path` is the result, None if there is none yet."""
    if path is None:
        return "Not measured yet; `make bench-containers` does."
    figures = read_figures(path)
    return "\n\n".join([_introduce(figures, path), render_tables(figures), _NOTES.read_text().rstrip()])


def render_tables(figures: ContainerFigures) -> str:
    """Return the bars and the figures behind them."""
    tables = [_bars(figures), *_sizes(figures), *_starts(figures), *_rates(figures), *_rebuild(figures)]
    return "\n\n".join(tables)


def list_bars(figures: ContainerFigures) -> list[Bar]:
    """Return what was aimed at with containers, and what was found."""
    service, stock = figures.size(SERVICE), figures.size(STOCK)
    share = service.added_bytes / stock.added_bytes if service and stock else None
    rebuild = figures.rebuild
    return [
        _small_image("service's image, without its base", service, 700),
        Bar(
            "service's image beside stock, both without their base",
            "≤ 0.5 ×",
            "" if share is None else f"{share:.3f} ×",
            None if share is None else share <= 0.5,
        ),
        _small_image("dashboard's image, without its base", figures.size(DASHBOARD), 550),
        _quick("`docker run` to ready: service, three models", figures.start_seconds(SERVICE_START), 6),
        _quick("`docker run` to ready: service, one model", figures.start_seconds(LITE0_START), 6),
        _quick("`docker run` to ready: dashboard", figures.start_seconds(DASHBOARD_START), 3),
        *(_as_fast(f"images/s, 16 connections: {side}", figures.ratios(side)) for side in SIDES[1:]),
        _quick("a line of code changed: build and containerize", rebuild.seconds if rebuild else [], 10),
        Bar(
            "a line of code changed: bytes to push",
            "≤ 5 MB",
            f"{rebuild.pushed_bytes / 1e6:.2f} MB" if rebuild else "",
            rebuild.pushed_bytes <= 5_000_000 if rebuild else None,
        ),
    ]


def _small_image(measure: str, size: ImageSize | None, most_mb: int) -> Bar:
    found = f"{_megabytes(size.added_bytes)}; {_megabytes(size.base_bytes)} more with it" if size else ""
    return Bar(measure, f"≤ {most_mb} MB", found, size.added_bytes <= most_mb * 1_000_000 if size else None)


def _quick(measure: str, seconds: Sequence[float], most_s: int) -> Bar:
    if not seconds:
        return Bar(measure, f"≤ {most_s} s", "", None)
    middle = statistics.median(seconds)
    return Bar(measure, f"≤ {most_s} s", f"{middle:.1f} s; at worst {max(seconds):.1f}", middle <= most_s)


def _as_fast(measure: str, ratios: Sequence[float]) -> Bar:
    middle = statistics.median(ratios) if ratios else None
    found = "" if middle is None else f"{middle:.3f}"
    return Bar(measure, "≥ 0.97 × outside", found, None if middle is None else middle >= 0.97)


def _introduce(figures: ContainerFigures, path: Path) -> str:
    environment = figures.environment
    machine, engine = environment["machine"], environment["engine"]
    return (
        f"`{environment['command']}`, [result](../bench/results/{path.name}). Taken on {environment['date']} at commit "
        f"{shorten_commit(environment['commit'])}, on {machine['cores']} cores of {machine['cpu']} with "
        f"{machine['memory_bytes'] / 1e9:.0f} GB; Docker {engine['server']}, {engine['storage']}. "
        "`make bench-containers` takes the figures again."
    )


def _bars(figures: ContainerFigures) -> str:
    rows = [(bar.measure, bar.aim, bar.found, bar.verdict) for bar in list_bars(figures)]
    return render_table(("measure", "aim", "found", ""), rows)


def _sizes(figures: ContainerFigures) -> Iterator[str]:
    rows = [
        (size.name, *map(_megabytes, (size.added_bytes, size.base_bytes, size.whole_bytes))) for size in figures.sizes
    ]
    if rows:
        yield render_table(("image", "its own layers", "its base", "whole"), rows)


def _starts(figures: ContainerFigures) -> Iterator[str]:
    rows = []
    for name in dict.fromkeys(start.name for start in figures.starts):
        seconds = figures.start_seconds(name)
        cells = (f"{value:.2f}" for value in (min(seconds), statistics.median(seconds), max(seconds)))
        rows.append((name, str(len(seconds)), *cells))
    if rows:
        yield render_table(("`docker run` to ready", "starts", "best, s", "median, s", "worst, s"), rows)


def _rates(figures: ContainerFigures) -> Iterator[str]:
    rows = []
    for side in SIDES:
        rates = [rate for rate in figures.rates if rate.side == side]
        if rates:
            ratios = sorted(figures.ratios(side))
            rows.append(
                (
                    side,
                    f"{figures.images_per_s(side):.0f}",
                    f"{statistics.median(ratios):.3f}",
                    f"{ratios[len(ratios) // 4]:.3f} to {ratios[-1 - len(ratios) // 4]:.3f}",
                    f"{statistics.median(rate.p99_ms for rate in rates):.0f}",
                    str(sum(rate.refused for rate in rates)),
                    str(sum(rate.failed for rate in rates)),
                )
            )
    if rows:
        yield render_table(
            ("service", "images/s", "beside outside", "middle half of the turns", "p99, ms", "refused", "failed"), rows
        )


def _rebuild(figures: ContainerFigures) -> Iterator[str]:
    rebuild = figures.rebuild
    if rebuild is not None:
        middles = (statistics.median(values) for values in (rebuild.build_s, rebuild.containerize_s, rebuild.seconds))
        row = (
            *(f"{value:.1f}" for value in middles),
            f"{rebuild.new_layers_bytes / 1e6:.2f} MB",
            f"{rebuild.pushed_bytes / 1e6:.2f} MB",
            _megabytes(rebuild.first_push_bytes),
        )
        head = ("build, s", "containerize, s", "both, s", "new layers", "pushed", "pushed the first time")
        yield render_table(head, [row])


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
