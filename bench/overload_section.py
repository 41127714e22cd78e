"""The section of `docs/benchmarks.md` about overload, of a result of `bench.overload`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.markdown import render_table, shorten_commit
from bench.records import median
from bench.servers import list_servers

_HEAD = (
    "server",
    "load",
    "goodput/s",
    "of 16 connections'",
    "p99, ms",
    "refused/s",
    "p99 of it, ms",
    "failed",
    "another client's p99, ms",
)


def render_overload(path: Path | None) -> str:
    """Return the section as Markdown; empty without a result. Medians over the rounds."""
    if path is None:
        return ""
    result = json.loads(path.read_text())
    machine = result["machine"]
    names = {server.key: server.name for server in list_servers()}
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in result["results"]:
        groups.setdefault((one["server"], one["load"]), []).append(one)
    rows = [_row(names[server], load, runs) for (server, load), runs in groups.items()]
    return (
        f"`{result['command']}`, [result](../bench/results/{path.name}), on {result['date']} at commit "
        f"{shorten_commit(result['commit'])}, on {machine['cores']} cores of {machine['cpu']}: the server on one, the "
        f"client on the other; {result['rounds']} rounds of {result['seconds']:g} s a load. Refused clients ask "
        "again at once, whatever `Retry-After` says. Behind nginx, another client asks for the version meanwhile.\n\n"
        f"{render_table(_HEAD, rows)}"
    )


def _row(server: str, load: str, runs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    def middle(name: str, digits: int) -> str:
        value = median(run[name] for run in runs)
        return "" if value is None else f"{value:.{digits}f}"

    return (
        server,
        load,
        middle("goodput_per_s", 0),
        middle("share", 2),
        middle("p99_ms", 0),
        middle("refused_per_s", 0),
        middle("refused_p99_ms", 0),
        str(sum(run["failed"] for run in runs)),
        middle("others_p99_ms", 0),
    )
