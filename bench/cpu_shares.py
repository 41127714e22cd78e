"""Where the processor time of an image goes, on the server and beside it: `python -m bench.cpu_shares --json`.

Lightbox under a closed loop of wrk's, with one worker and without its cache. Threads are told apart by their rank:
those that compute run five steps of niceness below the others (docs/adr/0011-the-event-loop-first.md), the event loop
is the main thread of its process. With `--json` writes `bench/results/cpu_shares-<date>.json`.
"""

import argparse
import os
import resource
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.bodies import photograph_folders
from bench.environment import describe_environment, write_result
from bench.models import peer_environment, prepare_models
from bench.running import Running
from bench.servers import LIGHTBOX, choose_servers
from bench.sessions import Site, opened
from bento_service.settings import Settings

PACKAGES = ("bentoml", "openvino", "uvicorn", "simplejpeg", "cykooz-resizer")
CONNECTIONS = (1, 16, 64)
_WARM_S = 3
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_COMMAND_END = ")"
_USER_TIME, _SYSTEM_TIME, _NICE = 11, 12, 16
"""Positions in `/proc/<pid>/task/<tid>/stat` after the command's name, of which the first is the state."""


@dataclass(frozen=True, slots=True)
class CpuShares:
    """Milliseconds of processor time an image, by who spent them.

    `idle_ms` is what nobody spent, or another program.
    """

    images_per_s: float
    compute_ms: float
    decoding_ms: float
    event_loop_ms: float
    client_ms: float
    idle_ms: float


def measure(duration_s: int, rounds: int) -> dict[int, CpuShares]:
    """Return the medians over the rounds, by connections."""
    (server,) = choose_servers([LIGHTBOX])
    target_ms = float(Settings.model_fields["target_p99_ms"].default)
    site = Site(photograph_folders(), peer_environment(prepare_models()), target_ms)
    found: dict[int, list[CpuShares]] = {connections: [] for connections in CONNECTIONS}
    with opened(server, site) as (bench, _):
        bench.warm(max(CONNECTIONS), _WARM_S)
        for _ in range(rounds):
            for connections, shares in found.items():
                bench.settle()
                before = _read_server_s(bench.running), _read_client_s()
                run = bench.closed(connections, duration_s)
                after = _read_server_s(bench.running), _read_client_s()
                shares.append(_divide(before, after, run.images_per_s, duration_s))
    return {connections: _median(shares) for connections, shares in found.items()}


def _divide(
    before: tuple[Sequence[float], float], after: tuple[Sequence[float], float], images_per_s: float, duration_s: float
) -> CpuShares:
    images = images_per_s * duration_s
    server_ms = compute_ms, decoding_ms, event_loop_ms = tuple(
        (late - early) * 1000 / images for early, late in zip(before[0], after[0], strict=True)
    )
    client_ms = (after[1] - before[1]) * 1000 / images
    available_ms = len(os.sched_getaffinity(0)) * 1000 / images_per_s
    idle_ms = available_ms - sum(server_ms) - client_ms
    return CpuShares(images_per_s, compute_ms, decoding_ms, event_loop_ms, client_ms, idle_ms)


def _median(shares: Sequence[CpuShares]) -> CpuShares:
    columns = zip(*(asdict(one).values() for one in shares), strict=True)
    return CpuShares(*(statistics.median(column) for column in columns))


def _read_server_s(server: Running) -> tuple[float, float, float]:
    """Return what threads that compute, that decode, and the event loops have spent so far."""
    compute_s = decoding_s = event_loop_s = 0.0
    for process_id in [process.pid for process in server.processes.find()]:
        for task in Path(f"/proc/{process_id}/task").iterdir():
            fields = (task / "stat").read_text().rpartition(_COMMAND_END)[2].split()
            spent_s = (int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) / _TICKS_PER_S
            if int(fields[_NICE]) > os.getpriority(os.PRIO_PROCESS, process_id):
                compute_s += spent_s
            elif int(task.name) == process_id:
                event_loop_s += spent_s
            else:
                decoding_s += spent_s
    return compute_s, decoding_s, event_loop_s


def _read_client_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the table, and write the result if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=8, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="write bench/results/cpu_shares-<date>.json")
    arguments = parser.parse_args()
    environment = describe_environment("python -m bench.cpu_shares --json", PACKAGES)
    found = measure(arguments.seconds, arguments.rounds)
    names = list(asdict(next(iter(found.values()))))
    print("| connections | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|", sep="\n")
    for connections, shares in found.items():
        print(f"| {connections} | " + " | ".join(f"{value:.2f}" for value in asdict(shares).values()) + " |")
    if arguments.json:
        loads = {"seconds": arguments.seconds, "rounds": arguments.rounds}
        results = {str(connections): asdict(shares) for connections, shares in found.items()}
        print(write_result("cpu_shares", {**environment, **loads, "results": results}))


if __name__ == "__main__":
    main()
