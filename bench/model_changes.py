"""What a change of models costs the clients: `python -m bench.model_changes --json`.

Lightbox with one worker has one CPU, the client another. 16 connections keep it busy. At first a bundled model and the
same file under a name of its own, as an import stores it, are asked in turns. Then only the latter is: while nothing
changes, while every few seconds another version of it is loaded and promoted and the former one unloaded, and while
nothing changes again. With `--json` writes `bench/results/model_changes-<date>.json`.
"""

import argparse
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.bodies import photograph_folders
from bench.environment import describe_environment, write_result
from bench.loads import Bench, percentile
from bench.models import MODEL, find_model, peer_environment, prepare_models
from bench.running import on_cpu
from bench.servers import LIGHTBOX, choose_servers
from bench.sessions import Site, opened
from bento_service.domain.models import StoredModel
from bento_service.load_test.generator import run_closed
from bento_service.models.store import BentoModelStore
from bento_service.settings import Settings
from lightbox_client import Client
from lightbox_client.contract import ModelVersions

CONNECTIONS = 16
NAME = "changing"
VERSIONS = ("a" * 12, "b" * 12)
PACKAGES = ("bentoml", "openvino", "uvicorn", "fastapi")
_WARM_S = 5.0
_PATIENCE_S = 30.0
_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Load:
    """One closed loop: `changes` counts versions promoted meanwhile; `refused` has 429 and 503, `failed` all else."""

    kind: str
    images_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    refused: int
    failed: int
    changes: int
    is_client_bound: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One change: seconds until the new version was promoted and the old one was gone, and the memory after that."""

    load_s: float
    promote_s: float
    unload_s: float
    memory_bytes: int


def measure(seconds: float, every_s: float, rounds: int) -> tuple[list[Load], list[Change], list[float]]:
    """Return the loads, the changes, and the imported model's images a second over the other's by round."""
    site = Site(photograph_folders(), peer_environment(prepare_models()), _target_ms())
    server_cpu, client_cpu = sorted(os.sched_getaffinity(0))[:2]
    [server] = choose_servers([LIGHTBOX])
    with TemporaryDirectory(prefix="lightbox-bench-store-") as name:
        _store_versions(BentoModelStore(Path(name)), find_model())
        variables = {
            "LIGHTBOX_MODELS": f"{NAME}:{VERSIONS[0]},{MODEL}",
            "LIGHTBOX_MODEL_STORE": name,
            "LIGHTBOX_MODEL_CONTROL": "explicit",
        }
        with on_cpu(server_cpu), opened(server, site, variables=variables) as (bench, _), on_cpu(client_cpu):
            bench.warm(CONNECTIONS, _WARM_S)
            ratios = [_compare(bench, number, seconds / 18) for number in range(rounds)]
            changes: list[Change] = []
            loads = [_load(bench, "before", seconds / 3)]
            with _changing(bench, every_s, changes):
                loads.append(replace(_load(bench, "while changing", seconds), changes=len(changes)))
            loads.append(_load(bench, "after", seconds / 3))
    return loads, changes, ratios


def _store_versions(store: BentoModelStore, original: StoredModel) -> None:
    def write_model(onnx_path: Path, _: Path) -> None:
        shutil.copy(original.onnx_path, onnx_path)

    for version in VERSIONS:
        store.save(
            replace(original.card, name=NAME, version=version, memory_bytes=None),
            write_model=write_model,
            measure=lambda _: original.parities,
        )


def _load(bench: Bench, kind: str, seconds: float, *, model: str = NAME) -> Load:
    bench.settle()
    url = f"{bench.url}?model={model}"
    options = replace(bench.options, timeout_s=_PATIENCE_S)
    result = run_closed(url, bench.bodies.encoded, CONNECTIONS, seconds, options=options)
    return Load(
        kind=kind,
        images_per_s=result.goodput_per_s(bench.target_ms),
        p50_ms=percentile(result.answered_ms, 0.5),
        p99_ms=percentile(result.answered_ms, 0.99),
        refused=result.refused,
        failed=result.failed,
        changes=0,
        is_client_bound=result.is_client_bound,
    )


@contextmanager
def _changing(bench: Bench, every_s: float, changes: list[Change]) -> Iterator[None]:
    """Change the version that answers every so often until the end of the block, at which the last change is over."""
    is_over = threading.Event()
    failures: list[Exception] = []

    def change() -> None:
        try:
            with Client(bench.running.url) as client:
                number = 0
                while not is_over.is_set():
                    begun_s = time.monotonic()
                    changes.append(_change(client, VERSIONS[number % 2], VERSIONS[(number + 1) % 2], bench))
                    number += 1
                    is_over.wait(max(0.0, every_s - (time.monotonic() - begun_s)))
        # Raised below, in the thread that measures.
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    if failures:
        raise failures[0]


def _change(client: Client, old: str, new: str, bench: Bench) -> Change:
    def is_ready(states: Mapping[str, str]) -> bool:
        return states.get(new) == "READY"

    def is_gone(states: Mapping[str, str]) -> bool:
        return states.get(old) in (None, "STORED")

    load_s = _wait(client, lambda: client.load_model(f"{NAME}:{new}"), is_ready)
    promote_s = _wait(client, lambda: client.promote_model(f"{NAME}:{new}"), is_ready)
    unload_s = _wait(client, lambda: client.unload_model(f"{NAME}:{old}"), is_gone)
    return Change(load_s, promote_s, unload_s, bench.running.memory_bytes)


def _wait(client: Client, ask: Callable[[], ModelVersions], is_done: Callable[[Mapping[str, str]], bool]) -> float:
    """Ask for a change, and return the seconds until every worker has made it."""
    begun_s = time.monotonic()
    ask()
    while time.monotonic() < begun_s + _PATIENCE_S:
        found = client.versions(NAME)
        if found.state == "READY" and is_done({one.version: one.state for one in found.versions}):
            return time.monotonic() - begun_s
        if found.state == "FAILED":
            raise RuntimeError(f"A version failed: {[one.reason for one in found.versions if one.reason]}")
        time.sleep(_POLL_S)  # another process's state has no event to wait for
    raise TimeoutError(f"A change was not made within {_PATIENCE_S:g} s.")


def _compare(bench: Bench, number: int, seconds: float) -> float:
    """Return the imported model's images a second over those of the same model as bundled, in turns."""
    names = (NAME, MODEL) if number % 2 else (MODEL, NAME)
    rates = {name: _load(bench, name, seconds, model=name).images_per_s for name in names}
    return rates[NAME] / rates[MODEL]


def _target_ms() -> float:
    return float(Settings.model_fields["target_p99_ms"].default)


def _growth(changes: Sequence[Change]) -> float | None:
    """Return the memory after the last third of the changes over that after the second third."""
    third = len(changes) // 3
    if not third:
        return None
    second, last = changes[third : 2 * third], changes[2 * third :]
    return median(one.memory_bytes for one in last) / median(one.memory_bytes for one in second)


def main() -> None:
    """Measure and print; with `--json`, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="of the load while models change")
    parser.add_argument("--every", type=float, default=5.0, help="seconds from one change to the next")
    parser.add_argument("--rounds", type=int, default=6, help="of the imported model against the bundled one")
    parser.add_argument("--json", action="store_true", help="write bench/results/model_changes-<date>.json")
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        parser.exit(2, "Server and client need a CPU each; this process has one.\n")
    environment = describe_environment(" ".join(["python -m bench.model_changes", *sys.argv[1:]]), PACKAGES)
    loads, changes, ratios = measure(arguments.seconds, arguments.every, arguments.rounds)
    for one in (*loads, *changes):
        print(one, file=sys.stderr, flush=True)
    calm_ms = [one.p99_ms for one in loads if not one.changes and one.p99_ms]
    summary = {
        "failed": sum(one.failed + one.refused for one in loads),
        "p99_ratio": loads[1].p99_ms / median(calm_ms) if loads[1].p99_ms and calm_ms else None,
        "memory_growth": _growth(changes),
        "imported_over_bundled": median(ratios) if ratios else None,
    }
    print(summary)
    if arguments.json:
        measured = {"loads": [asdict(one) for one in loads], "changes": [asdict(one) for one in changes]}
        print(write_result("model_changes", {**environment, "summary": summary, **measured, "ratios": ratios}))


if __name__ == "__main__":
    main()
