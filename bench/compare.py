"""Lightbox beside its peers, on the same photographs, weights and machine, in one run: `make bench`.

Installs the peers the first time, each in a virtual environment of its own under `.cache/`, checks that they answer as
Lightbox does, and then measures all of them in turn, for as many rounds as asked for. Writes
`bench/results/compare-<date>.json` and `docs/benchmarks.md`. It needs wrk. With `--quick` or `--only` the result is
`compare_part-<date>.json`, and the page stays as it is.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict
from types import FrameType
from typing import TypeVar

from bench.bodies import photograph_folders
from bench.ceiling import Ceiling, best_of
from bench.environment import describe_environment, write_result
from bench.environments import PeerUnavailableError
from bench.models import peer_environment, prepare_models, store_environment
from bench.plan import Plan, make_plan
from bench.records import LARGE, SMALL, Comparison, Participant, Run, Step, to_json
from bench.report import write_page
from bench.running import ROOT
from bench.servers import LIGHTBOX, Server, choose_servers
from bench.sessions import (
    MAX_DIFFERENCE,
    Site,
    count_models,
    meet,
    run_growth,
    run_round,
    run_step,
    run_two_workers,
    watch_memory,
)
from bench.wire import Answer
from bento_service.settings import Settings

PACKAGES = ("bentoml", "openvino", "fastapi", "uvicorn", "pillow", "simplejpeg", "torch", "torchvision")
T = TypeVar("T")


def compare(servers: Sequence[Server], plan: Plan, command: str) -> Comparison:
    """Measure the servers, Lightbox first, by the plan; a peer that cannot be had is a row that says why.

    Raises:
        PeerUnavailableError: Lightbox itself cannot be started.
    """
    begun_s = time.monotonic()
    # As it was when the measurement began: the working tree may change meanwhile.
    environment = describe_environment(command, PACKAGES)
    target_ms = float(Settings.model_fields["target_p99_ms"].default)
    site = Site(photograph_folders(), peer_environment(prepare_models()), target_ms)
    participants = _meet_all(servers, site)
    has_come = {participant.key for participant in participants if participant.unavailable is None}
    present = [server for server in servers if server.key in has_come]
    lightbox, *peers = present
    ceilings: list[Ceiling] = []
    runs: list[Run] = []
    steps: list[Step] = []
    interruptions: list[str] = []
    for number in range(plan.rounds):
        _tell(f"Round {number + 1} of {plan.rounds}, after {(time.monotonic() - begun_s) / 60:.1f} min")
        # Everyone goes first at some time.
        first = number % len(present)
        for server in (*present[first:], *present[:first]):
            # The machine is not equally fast all the time: Lightbox is held to the better of before and after.
            readings = [_measure_ceiling(site, plan.seconds)] if server is lightbox else []
            runs += _collect(server, run_round(server, site, plan, number), interruptions)
            if readings:
                ceilings.append(best_of([*readings, _measure_ceiling(site, plan.seconds)]))
        for server in (lightbox, *peers) if number == 0 and plan.peers_scale else (lightbox,):
            runs += _collect(server, run_two_workers(server, site, plan, number), interruptions)
        capacity_per_s = _find_capacity(runs, number) or ceilings[-1].images_per_s
        steps += _collect(lightbox, run_step(lightbox, site, plan, capacity_per_s, number), interruptions)
    runs += _collect(lightbox, run_growth(lightbox, site, plan), interruptions)
    model_counts = _collect(lightbox, count_models(lightbox, site, plan), interruptions)
    memory_samples = _collect(lightbox, watch_memory(lightbox, site, plan.long_minutes), interruptions)
    minutes = (time.monotonic() - begun_s) / 60
    _tell(f"Done after {minutes:.1f} min")
    return Comparison(
        environment=environment,
        plan={**asdict(plan), "minutes": round(minutes, 1)},
        target_ms=target_ms,
        participants=participants,
        ceilings=ceilings,
        runs=runs,
        steps=steps,
        model_counts=model_counts,
        memory_samples=memory_samples,
        interruptions=interruptions,
    )


def _meet_all(servers: Sequence[Server], site: Site) -> list[Participant]:
    participants: list[Participant] = []
    expected: Sequence[Answer] | None = None
    for server in servers:
        try:
            participant, answers = meet(server, site, expected)
        except PeerUnavailableError as error:
            if expected is None:
                raise
            participant = Participant(server.key, server.name, server.kind, unavailable=str(error))
        else:
            expected = expected or answers
            _check_agreement(participant)
        participants.append(participant)
        _tell(f"{server.name}: {participant.unavailable or 'answers as Lightbox does'}")
    return participants


def _check_agreement(participant: Participant) -> None:
    if participant.same_top1 < participant.photographs or (participant.max_difference or 0.0) > MAX_DIFFERENCE:
        raise SystemExit(
            f"{participant.name} answers otherwise than Lightbox: the same best class on {participant.same_top1} of "
            f"{participant.photographs} photographs, probabilities off by up to {participant.max_difference:.3f}; "
            f"{MAX_DIFFERENCE} is allowed. Nothing was measured, since the work would not be the same."
        )


def _collect(server: Server, measured: Generator[T, None, None], interruptions: list[str]) -> list[T]:
    """Take what a session yields, up to where it fails, if it does; why it did is added to `interruptions`."""
    collected: list[T] = []
    with closing(measured) as session:
        try:
            for one in session:
                collected.append(one)
                _tell(f"  {one}")
        except (PeerUnavailableError, subprocess.CalledProcessError) as error:
            interruptions.append(f"{server.name} {error}")
            _tell(interruptions[-1])
    return collected


def _find_capacity(runs: Sequence[Run], number: int) -> float | None:
    """Return the capacity that Lightbox's open loops of a round were offered a share of; None where there were none."""
    return next(
        (run.capacity_per_s for run in runs if run.server == LIGHTBOX and run.round == number and run.capacity_per_s),
        None,
    )


def _measure_ceiling(site: Site, seconds: int) -> Ceiling:
    command = [sys.executable, "-m", "bench.ceiling", str(site.photographs[SMALL]), str(site.photographs[LARGE])]
    done = subprocess.run(  # noqa: S603 - our own module
        [*command, "--seconds", str(seconds)], env=store_environment(), cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    ceiling = Ceiling(**json.loads(done.stdout))
    _tell(f"  {ceiling}")
    return ceiling


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="6 minutes instead of 25: one round, short loads, no growth"
    )
    parser.add_argument("--long", action="store_true", help="ten minutes more: memory under a longer load")
    parser.add_argument("--only", default="", help="these peers, separated by commas")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int, help="of each load")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.exit(2, "wrk is not installed; on Debian and Ubuntu: apt-get install wrk\n")
    try:
        servers = choose_servers([key.strip() for key in arguments.only.split(",") if key.strip()])
    except ValueError as error:
        parser.error(str(error))
    plan = make_plan(quick=arguments.quick, long=arguments.long, rounds=arguments.rounds, seconds=arguments.seconds)
    # SIGTERM ends it as Ctrl-C does: the servers are stopped on the way out.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        comparison = compare(servers, plan, " ".join(["python -m bench.compare", *sys.argv[1:]]))
    except PeerUnavailableError as error:
        parser.exit(1, f"Lightbox {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "Stopped; nothing was written.\n")
    is_whole = not arguments.quick and not arguments.only
    path = write_result("compare" if is_whole else "compare_part", to_json(comparison))
    print(path)
    if is_whole:
        print(write_page(path))


if __name__ == "__main__":
    main()
