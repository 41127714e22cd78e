"""Write `docs/benchmarks.md` and its plots of a result of `bench.compare`: `python -m bench.report [RESULT.json]`."""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.bars import list_bars
from bench.charts import draw_charts
from bench.containers.section import render_section
from bench.environment import find_newest_result
from bench.markdown import render_table, shorten_commit
from bench.overload import render_overload
from bench.plan import CONNECTIONS
from bench.records import (
    LARGE,
    NOT_MEASURED,
    CacheRatios,
    Comparison,
    Participant,
    median,
    read_cache_ratios,
    read_comparison,
)
from bench.running import ROOT
from bench.servers import LIGHTBOX

DOCS = ROOT / "docs"
_IMAGES = DOCS / "images"
_METHOD, _NOTES = (Path(__file__).with_name(name) for name in ("method.md", "notes.md"))


def render_page(
    comparison: Comparison,
    result: Path,
    charts: Sequence[str],
    cache: CacheRatios = NOT_MEASURED,
    *,
    containers: str = "",
    overload: str = "",
) -> str:
    """Return the page as Markdown.

    `result` is the comparison's JSON, `charts` are file names of plots. `containers` and `overload` are sections in
    Markdown, which `docs.tables` writes anew.
    """
    sections = [
        _introduce(comparison, result),
        _bars(comparison, cache),
        f"## What was not reached, and why\n\n{_NOTES.read_text().rstrip()}",
        _closed_loop(comparison, charts),
        _open_loop(comparison, charts),
        f"## Overload\n\n<!-- begin: overload -->\n{overload}\n<!-- end: overload -->" if overload else "",
        _growth(comparison, charts),
        _participants(comparison),
        f"## Containers\n\n<!-- begin: containers -->\n{containers}\n<!-- end: containers -->" if containers else "",
        _METHOD.read_text().format(target_ms=comparison.target_ms).rstrip(),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def render_summary(comparison: Comparison) -> str:
    """Return the table of the README: the servers' closed loops, the ceiling first."""
    ceiling = _number(comparison.ceiling("images_per_s"))
    rows: list[tuple[str, ...]] = [("no server, the ceiling", "", ceiling, ceiling, "")]
    for one in comparison.participants:
        if one.unavailable is None:
            rates = (_number(comparison.images_per_s(one.key, level)) for level in CONNECTIONS)
            lone_ms = median(run.p50_ms for run in comparison.select(one.key, "closed", 1))
            rows.append((one.name, *rates, _number(lone_ms, 1)))
    head = ("images/s", *(f"{level} connection{'s' if level > 1 else ''}" for level in CONNECTIONS), "p50 at 1, ms")
    return render_table(head, rows)


def _introduce(comparison: Comparison, result: Path) -> str:
    environment, plan = comparison.environment, comparison.plan
    machine = environment["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        "# Benchmarks\n\n"
        f"`{environment['command']}`, [result]({_link(result)}); `python -m bench.report` makes this page of it. Taken "
        f"on {environment['date']} at commit {shorten_commit(environment['commit'])}, on {machine['cores']} cores of "
        f"{machine['cpu']} with {machine['memory_bytes'] / 1e9:.0f} GB; {versions}. EfficientNet-Lite0; "
        f"{plan['rounds']} round{'s' if plan['rounds'] > 1 else ''} of {plan['seconds']} s a load. `make bench` takes "
        "the figures again, peers included."
    )


def _bars(comparison: Comparison, cache: CacheRatios) -> str:
    rows = [(bar.measure, bar.aim, bar.found, bar.verdict) for bar in list_bars(comparison, cache)]
    source = f", [result]({_link(cache.path)})" if cache.path else ""
    words = (
        f"What the cache gains and costs is measured by `python -m bench.cache --json`{source}, a GPU by "
        "`make bench-gpu`; neither is part of this run. Nor are peers with large photographs at 1 and 64 connections, "
        "nor with two workers at one connection."
    )
    return f"## What was aimed at\n\n{render_table(('measure', 'aim', 'found', ''), rows)}\n\n{words}"


def _closed_loop(comparison: Comparison, charts: Sequence[str]) -> str:
    ceiling = comparison.ceiling("images_per_s")
    lone_ms = comparison.ceiling("lone_p50_ms")
    rows: list[tuple[str, ...]] = [
        (
            "no server: decode + infer in threads, the ceiling",
            "" if not lone_ms else f"{1000 / lone_ms:.0f}",
            *(_number(ceiling),) * 2,
            _number(lone_ms, 1),
            "",
            _number(comparison.ceiling("large_images_per_s"), 1),
            "",
            "",
            "",
        )
    ]
    for one in comparison.participants:
        if one.unavailable is None:
            rows.append((one.name, *_closed_cells(comparison, one)))
    head = ("images/s", *(f"{level} conn." for level in CONNECTIONS), "p50 at 1, ms", "p99 at 64, ms")
    table = render_table((*head, "12 MP, 16 conn.", "2 workers, 64 conn.", "refused", "failed"), rows)
    return "\n\n".join(["## Closed loop", *_show(charts, "bench-throughput.svg", "Images a second by server"), table])


def _closed_cells(comparison: Comparison, participant: Participant) -> tuple[str, ...]:
    key = participant.key
    every = [run for run in comparison.runs if run.server == key and run.loop == "closed"]
    return (
        *(_number(comparison.images_per_s(key, level)) for level in CONNECTIONS),
        _number(median(run.p50_ms for run in comparison.select(key, "closed", 1)), 1),
        _number(median(run.p99_ms for run in comparison.select(key, "closed", CONNECTIONS[-1]))),
        _number(comparison.images_per_s(key, 16, photographs=LARGE), 1),
        _number(comparison.images_per_s(key, CONNECTIONS[-1], workers=2)),
        str(sum(run.refused for run in every)),
        str(sum(run.failed for run in every)),
    )


def _open_loop(comparison: Comparison, charts: Sequence[str]) -> str:
    rows = []
    for participant in comparison.participants:
        for share in sorted({run.level for run in comparison.select(participant.key, "open")}):
            runs = comparison.select(participant.key, "open", share)
            requests = sum(run.requests or 0 for run in runs)
            rows.append(
                (
                    participant.name,
                    f"{share:.0%}".replace("%", " %"),
                    _number(median(run.offered_per_s for run in runs)),
                    _number(median(run.goodput_per_s for run in runs)),
                    _number(median(run.p50_ms for run in runs)),
                    _number(median(run.p99_ms for run in runs)),
                    _share(sum(run.refused for run in runs), requests),
                    _number(median(run.refused_p99_ms for run in runs), 1),
                    _share(sum(run.failed for run in runs), requests),
                )
            )
    if not rows:
        return ""
    head = ("server", "of its capacity", "offered/s", "goodput/s", "p50, ms", "p99, ms", "refused", "p99 of it, ms")
    plot = _show(charts, "bench-goodput.svg", "Goodput by offered load")
    return "\n\n".join(["## Open loop", *plot, render_table((*head, "failed"), rows)])


def _growth(comparison: Comparison, charts: Sequence[str]) -> str:
    parts = [*_workers(comparison), *_connections(comparison, charts), *_large(comparison), *_models(comparison)]
    parts += _show(charts, "bench-memory.svg", "Memory over ten minutes of load")
    return "\n\n".join(["## How Lightbox grows", *parts]) if parts else ""


def _workers(comparison: Comparison) -> Iterator[str]:
    rows = []
    for connections in CONNECTIONS:
        one, two = (comparison.images_per_s(LIGHTBOX, connections, workers=workers) for workers in (1, 2))
        if one and two:
            memory = [
                median(run.memory_bytes for run in comparison.select(LIGHTBOX, "closed", connections, workers=workers))
                for workers in (1, 2)
            ]
            cells = (_number(one), _number(two), f"{two / one:.2f}", *(_number((used or 0) / 1e6) for used in memory))
            rows.append((str(connections), *cells))
    if rows:
        head = ("connections", "images/s, 1 worker", "2 workers", "ratio", "MB, 1 worker", "2 workers")
        yield render_table(head, rows)
        yield (
            "Workers share the CPUs: a second one adds no compute, only another event loop and interpreter. It pays "
            "where Python is the limit, and costs a model's memory again."
        )


def _connections(comparison: Comparison, charts: Sequence[str]) -> Iterator[str]:
    levels = sorted({run.level for run in comparison.select(LIGHTBOX, "closed")})
    if len(levels) > len(CONNECTIONS):
        rows = []
        for level in levels:
            runs = comparison.select(LIGHTBOX, "closed", level)
            figures = (median(getattr(run, name) for run in runs) for name in ("images_per_s", "p50_ms", "p99_ms"))
            refused = sum(run.refused for run in runs)
            rows.append((f"{level:g}", *(_number(figure, 1) for figure in figures), str(refused)))
        yield from _show(charts, "bench-connections.svg", "Latency against connections")
        yield render_table(("connections", "images/s", "p50, ms", "p99, ms", "refused"), rows)
        yield (
            "Once the CPUs are busy, each further connection waits in the queue: latency grows in proportion to it "
            "(Little's law), and throughput stays. Where the wait would pass seven tenths of the target, images are "
            "refused at once. wrk sends the next one at once too, whatever `Retry-After` says, so that refusals take "
            "the CPUs that it shares with the server; their times are among the latencies."
        )


def _large(comparison: Comparison) -> Iterator[str]:
    rows = []
    for connections in CONNECTIONS:
        if runs := comparison.select(LIGHTBOX, "closed", connections, photographs=LARGE):
            figures = (median(getattr(run, name) for run in runs) for name in ("images_per_s", "p50_ms", "p99_ms"))
            cells = (*(_number(figure, 1) for figure in figures), str(sum(run.refused for run in runs)))
            rows.append((str(connections), *cells))
    if len(rows) > 1:
        yield render_table(("connections, 12 MP", "images/s", "p50, ms", "p99, ms", "refused"), rows)
        yield "Decoding is nearly all of the work of a large photograph, and each is decoded on one CPU."


def _models(comparison: Comparison) -> Iterator[str]:
    if len(comparison.model_counts) > 1:
        rows = [
            (
                str(count.models),
                _number(count.start_s, 1),
                _number(count.idle_bytes / 1e6),
                _number(count.images_per_s),
            )
            for count in comparison.model_counts
        ]
        yield render_table(("models loaded", "ready after, s", "memory, MB", "images/s of the first"), rows)
        yield (
            "A model costs its weights and its buffers, and the time to compile and to time it; it takes nothing from "
            "another that is asked. Six are the three bundled ones and a copy of each."
        )


def _participants(comparison: Comparison) -> str:
    rows = []
    for one in comparison.participants:
        if one.unavailable is not None:
            rows.append((one.name, "", "", "", one.unavailable.replace("|", "\\|")))
        else:
            same = f"{one.same_top1} of {one.photographs}"
            rows.append((one.name, _number(one.start_s, 1), same, f"{one.max_difference or 0:.1e}", ""))
    head = (
        "server",
        "ready after, s",
        "same best class",
        "largest difference of a probability",
        "why it was not measured",
    )
    interruptions = "".join(f"\n\n{words}" for words in comparison.interruptions)
    return f"## Who took part\n\n{render_table(head, rows)}{interruptions}"


def _link(result: Path) -> str:
    return Path(os.path.relpath(result, DOCS)).as_posix()


def _show(charts: Sequence[str], name: str, description: str) -> list[str]:
    return [f"![{description}](images/{name})"] if name in charts else []


def _number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _share(count: int, of: int) -> str:
    return f"{count / of:.1%}".replace("%", " %") if of else ""


def write_page(path: Path) -> Path:
    """Write the page and the plots of a result, and return the page."""
    comparison = read_comparison(path)
    charts = draw_charts(comparison)
    _IMAGES.mkdir(parents=True, exist_ok=True)
    for name, svg in charts.items():
        (_IMAGES / name).write_text(svg)
    page = DOCS / "benchmarks.md"
    cache = read_cache_ratios(find_newest_result("cache"))
    containers = render_section(find_newest_result("containers"))
    overload = render_overload(find_newest_result("overload"))
    page.write_text(render_page(comparison, path.resolve(), [*charts], cache, containers=containers, overload=overload))
    return page


def main() -> None:
    """Write the page and the plots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, nargs="?", help="the newest of bench/results, if left out")
    path = parser.parse_args().result or find_newest_result("compare")
    if path is None:
        parser.exit(2, "There is no result in bench/results yet; `python -m bench.compare` makes one.\n")
    print(write_page(path))


if __name__ == "__main__":
    main()
