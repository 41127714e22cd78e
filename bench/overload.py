"""What clients that ask again at once leave of a server's answers: `python -m bench.overload --json`.

Server and client each have one CPU of their own, so that a server's loss is not the client's. Each server is loaded by
closed loops of 16, 64 and 256 connections that ignore `Retry-After`, and by an open loop of four times the rate of the
first. Goodput counts answers within the latency target. Behind nginx, where it is installed, another client asks
Lightbox for its version meanwhile, over the connections that nginx shares among all. With `--json` writes
`bench/results/overload-<date>.json`.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import requests

from bench import nginx
from bench.bodies import photograph_folders
from bench.environment import describe_environment, write_result
from bench.environments import PeerUnavailableError
from bench.loads import Bench, percentile
from bench.markdown import render_table, shorten_commit
from bench.models import peer_environment, prepare_models
from bench.records import median
from bench.running import on_cpu
from bench.servers import LIGHTBOX, Server, choose_servers, list_servers
from bench.sessions import Site, opened
from bento_service.load_test.generator import LoadOptions, run_closed, run_open
from bento_service.load_test.result import LoadResult
from bento_service.settings import Settings

BASE_CONNECTIONS = 16
"""Enough to keep one CPU busy, and few enough that nobody is refused."""
CONNECTIONS = (BASE_CONNECTIONS, 64, 256)
OPEN_SHARE = 4.0
PACKAGES = ("bentoml", "openvino", "uvicorn", "fastapi")
_WARM_S = 3.0
_PATIENCE_S = 30.0
"""Longer than any refusal is held: one that is given up would not count as a refusal."""
_POLL_S = 0.05
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


@dataclass(frozen=True, slots=True)
class Overload:
    """One load on one server.

    `goodput_per_s` counts answers within the target, `share` compares it to that of 16 connections. Percentiles are of
    answers with 200 and of refusals (429, 503); None without any. `others_p99_ms` is another client's, behind nginx.
    """

    server: str
    load: str
    round: int
    goodput_per_s: float
    share: float
    p99_ms: float | None
    refused_per_s: float
    refused_p99_ms: float | None
    failed: int
    is_client_bound: bool
    others_p99_ms: float | None = None


def measure(servers: Sequence[Server], duration_s: float, rounds: int) -> Iterator[Overload]:
    """Yield each load's figures; a server that cannot be had is left out with a word on standard error."""
    target_ms = float(Settings.model_fields["target_p99_ms"].default)
    site = Site(photograph_folders(), peer_environment(prepare_models()), target_ms)
    server_cpu, client_cpu = sorted(os.sched_getaffinity(0))[:2]
    for number in range(rounds):
        for server in servers:
            try:
                with on_cpu(server_cpu), opened(server, site, number=number) as (bench, _), on_cpu(client_cpu):
                    yield from _Session(bench, duration_s).run()
            except PeerUnavailableError as error:
                print(f"{server.name} {error}", file=sys.stderr, flush=True)


@dataclass
class _Session:
    """The loads of one server that runs."""

    bench: Bench
    duration_s: float
    base_per_s: float = field(default=0.0, init=False)

    @property
    def options(self) -> LoadOptions:
        return replace(self.bench.options, timeout_s=_PATIENCE_S)

    def run(self) -> Iterator[Overload]:
        self.bench.warm(BASE_CONNECTIONS, _WARM_S)
        for connections in CONNECTIONS:
            yield self._describe(f"{connections} connections", self._closed(self.bench.url, connections))
        self.bench.settle()
        rate_per_s = OPEN_SHARE * self.base_per_s
        bodies, seed = self.bench.bodies.encoded, self.bench.round
        result = run_open(self.bench.url, bodies, rate_per_s, self.duration_s, seed=seed, options=self.options)
        yield self._describe(f"{OPEN_SHARE:g} x capacity", result)
        if self.bench.running.server.key == LIGHTBOX and nginx.is_installed():
            yield self._run_behind_nginx(max(CONNECTIONS))

    def _closed(self, url: str, connections: int) -> LoadResult:
        self.bench.settle()
        result = run_closed(url, self.bench.bodies.encoded, connections, self.duration_s, options=self.options)
        self.base_per_s = self.base_per_s or result.goodput_per_s(self.bench.target_ms)
        return result

    def _run_behind_nginx(self, connections: int) -> Overload:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="lightbox-bench-nginx-")))
            address = stack.enter_context(nginx.in_front_of(self.bench.running.url, folder))
            other = stack.enter_context(_asking(f"{address}/version"))
            result = self._closed(address + self.bench.running.server.wire.path, connections)
        return self._describe(f"{connections} connections behind nginx", result, other)

    def _describe(self, load: str, result: LoadResult, other_ms: Sequence[float] = ()) -> Overload:
        goodput_per_s = result.goodput_per_s(self.bench.target_ms)
        return Overload(
            server=self.bench.running.server.key,
            load=load,
            round=self.bench.round,
            goodput_per_s=goodput_per_s,
            share=goodput_per_s / self.base_per_s if self.base_per_s else 0.0,
            p99_ms=percentile(result.answered_ms, 0.99),
            refused_per_s=result.refused / result.duration_s,
            refused_p99_ms=percentile(result.refused_ms, 0.99),
            failed=result.failed,
            is_client_bound=result.is_client_bound,
            others_p99_ms=percentile(np.array(other_ms), 0.99),
        )


@contextmanager
def _asking(url: str) -> Iterator[list[float]]:
    """Ask for something that is never refused until the end of the block; yields the milliseconds of each answer."""
    answers_ms: list[float] = []
    is_over = threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            while not is_over.wait(_POLL_S):
                begun_s = time.perf_counter()
                session.get(url, timeout=_PATIENCE_S).raise_for_status()
                answers_ms.append((time.perf_counter() - begun_s) * 1000)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers_ms
    finally:
        is_over.set()
        thread.join()


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


def main() -> None:
    """Measure and print; with `--json`, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="these peers, separated by commas, or `none`; Lightbox always")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="write bench/results/overload-<date>.json")
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        parser.exit(2, "Server and client need a CPU each; this process has one.\n")
    keys = [key.strip() for key in arguments.only.split(",") if key.strip()]
    servers = choose_servers([LIGHTBOX] if keys == ["none"] else keys)
    environment = describe_environment(" ".join(["python -m bench.overload", *sys.argv[1:]]), PACKAGES)
    found: list[Overload] = []
    for one in measure(servers, arguments.seconds, arguments.rounds):
        print(one, file=sys.stderr, flush=True)
        found.append(one)
    if arguments.json:
        loads = {"seconds": arguments.seconds, "rounds": arguments.rounds}
        print(write_result("overload", {**environment, **loads, "results": [asdict(one) for one in found]}))


if __name__ == "__main__":
    main()
