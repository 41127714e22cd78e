"""What is done with each server while it runs: one function a kind of session."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.bodies import write_bodies
from bench.loads import Bench
from bench.models import SIX_MODELS
from bench.plan import CONNECTIONS, Plan
from bench.records import LARGE, SMALL, MemorySample, ModelCount, Participant, Run, Step
from bench.running import running
from bench.servers import LIGHTBOX, Server
from bench.wire import Answer

AGREEMENT_PHOTOGRAPHS = 16
MAX_DIFFERENCE = 0.01
_STEP_SHARE = 0.9
_LONG_LOAD_S = 15
_LARGE_CONNECTIONS = 16
_LARGE_LOAD_S = 4
"""Shorter, the slowest would answer none of their first sixteen photographs."""


@dataclass(frozen=True, slots=True)
class Site:
    """What every session is given: the photographs by kind, what the peers need to know, and the target."""

    photographs: Mapping[str, Path]
    variables: Mapping[str, str]
    target_ms: float


@contextmanager
def opened(
    server: Server, site: Site, *, workers: int = 1, variables: Mapping[str, str] | None = None, number: int = 0
) -> Iterator[tuple[Bench, Bench]]:
    """Run a server with an empty data folder; yields it under small and under large photographs.

    Raises:
        PeerUnavailableError: It cannot be had.
    """
    with TemporaryDirectory(prefix="lightbox-bench-") as name:
        folder = Path(name)
        bodies = {
            kind: write_bodies(photographs, server.wire, folder / kind)
            for kind, photographs in site.photographs.items()
        }
        everything = {**site.variables, **(variables or {})}
        with running(server, folder / "data", everything, workers=workers) as ready:
            small, large = (
                Bench(ready, bodies[kind], site.target_ms, number, workers, kind) for kind in (SMALL, LARGE)
            )
            yield small, large


def meet(server: Server, site: Site, expected: Sequence[Answer] | None) -> tuple[Participant, Sequence[Answer]]:
    """Start a server for the first time, and compare its answers to Lightbox's, which are `expected`.

    Raises:
        PeerUnavailableError: It cannot be had.
    """
    begun_s = time.monotonic()
    with opened(server, site) as (bench, _):
        start_s = time.monotonic() - begun_s
        bodies = [bench.ask(number) for number in range(AGREEMENT_PHOTOGRAPHS)]
        answers = [{} if body is None else server.wire.read(body) for body in bodies]
    pairs = list(zip(answers, expected if expected is not None else answers, strict=True))
    participant = Participant(
        key=server.key,
        name=server.name,
        kind=server.kind,
        start_s=start_s,
        photographs=len(pairs),
        same_top1=sum(bool(ours) and next(iter(ours)) == next(iter(theirs)) for ours, theirs in pairs),
        max_difference=max(compare_answers(ours, theirs) for ours, theirs in pairs),
    )
    return participant, answers


def compare_answers(left: Answer, right: Answer) -> float:
    """Return the largest difference of a probability between two answers, over the classes that both name.

    1 where an answer is missing, or where they share no class.
    """
    shared = left.keys() & right.keys()
    return max((abs(left[class_id] - right[class_id]) for class_id in shared), default=1.0)


def run_round(server: Server, site: Site, plan: Plan, number: int) -> Generator[Run, None, None]:
    """Load a server with one worker: the closed loops; in the first round, and for Lightbox always, all the rest."""
    is_lightbox = server.key == LIGHTBOX
    is_full = number == 0 or is_lightbox
    with opened(server, site, number=number) as (small, large):
        small.warm(max(CONNECTIONS), plan.warm_seconds)
        rates = {}
        for connections in CONNECTIONS:
            run = _settled(small).closed(connections, plan.seconds)
            rates[connections] = run.images_per_s
            yield run
        if not is_full:
            return
        small.settle()
        large_seconds = max(plan.seconds, _LARGE_LOAD_S)
        yield large.closed(_LARGE_CONNECTIONS, large_seconds)
        seconds = plan.seconds if is_lightbox else plan.peer_seconds
        capacity_per_s = _settled(small).find_capacity(max(rates, key=rates.__getitem__), seconds)
        for share in plan.shares:
            yield _settled(small).open(share, capacity_per_s, seconds)
        if is_lightbox and number == 0:
            for connections in sorted({*CONNECTIONS} - {_LARGE_CONNECTIONS}):
                small.settle()
                yield large.closed(connections, large_seconds)


def _settled(bench: Bench) -> Bench:
    """Wait until the server is done with the load before: most finish what nobody waits for any more."""
    bench.settle()
    return bench


def run_two_workers(server: Server, site: Site, plan: Plan, number: int) -> Generator[Run, None, None]:
    """Load a server with two workers."""
    with opened(server, site, workers=2, number=number) as (small, _):
        small.warm(max(CONNECTIONS), plan.warm_seconds)
        is_lightbox = server.key == LIGHTBOX
        for connections in CONNECTIONS if is_lightbox and number == 0 else CONNECTIONS[1:]:
            yield _settled(small).closed(connections, plan.seconds if is_lightbox else plan.peer_seconds)


def run_growth(server: Server, site: Site, plan: Plan) -> Generator[Run, None, None]:
    """Load a server with more and more connections."""
    if not plan.growth_connections:
        return
    with opened(server, site) as (small, _):
        small.warm(max(CONNECTIONS), plan.warm_seconds)
        for connections in plan.growth_connections:
            yield _settled(small).closed(connections, plan.seconds)


def run_step(server: Server, site: Site, plan: Plan, capacity_per_s: float, number: int) -> Generator[Step, None, None]:
    """Start a server, and load it from idle to 90 % of the capacity at once."""
    with opened(server, site, number=number) as (small, _):
        yield small.step(_STEP_SHARE * capacity_per_s, plan.step_seconds)


def count_models(server: Server, site: Site, plan: Plan) -> Generator[ModelCount, None, None]:
    """Run Lightbox with one model, and with more."""
    for models in plan.model_counts:
        names = SIX_MODELS[:models]
        begun_s = time.monotonic()
        with opened(server, site, variables={"LIGHTBOX_MODELS": ",".join(names)}) as (small, _):
            start_s = time.monotonic() - begun_s
            for name in names:
                small.ask(0, query=f"?model={name}")
            idle_bytes = small.running.memory_bytes
            load = small.closed(16, plan.seconds)
        yield ModelCount(models, start_s, idle_bytes, load.images_per_s)


def watch_memory(server: Server, site: Site, minutes: int) -> Generator[MemorySample, None, None]:
    """Load Lightbox with two workers for so long, and look at its memory all the while."""
    if not minutes:
        return
    with opened(server, site, workers=2) as (small, _):
        begun_s = time.monotonic()
        while (elapsed_s := time.monotonic() - begun_s) < minutes * 60:
            yield MemorySample(elapsed_s, small.running.memory_bytes)
            small.closed(16, _LONG_LOAD_S)
        yield MemorySample(elapsed_s, small.running.memory_bytes)
