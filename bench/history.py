"""Times of the journal's reads and writes, with a month of traffic in it: `python -m bench.history --json`.

PostgreSQL is measured where `--postgresql` names an empty database.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy import create_engine

from bench.environment import describe_environment, write_result
from bento_service.database.url import parse_url
from bento_service.domain.requests import ImageInfo, Prediction, Receipt, Timings
from bento_service.journal.base import JournalStore
from bento_service.journal.store import SqlJournalStore
from bento_service.journal.writer import JournalWriter

DAYS = 30
MODELS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
# At 13 seconds past a minute no bucket begins where a rollup does, which is the costliest case.
NOW = datetime(2026, 5, 17, 12, 7, 13, tzinfo=UTC)
REPEATS = 15


def make_receipts(start: datetime, minutes: int, receipts_a_minute: int, seed: int) -> Iterator[Receipt]:
    """Yield receipts of random classes and durations, one in thirty a refusal."""
    rng = random.Random(seed)  # noqa: S311 - made-up traffic, no secret
    for minute in range(minutes):
        for number in range(receipts_a_minute):
            total_ms = rng.lognormvariate(3, 0.6)
            classes = [min(999, int(rng.paretovariate(0.7))) for _ in range(5)]
            yield Receipt(
                request_id=f"{seed:08x}-{minute:08x}-{number:08x}",
                received_at=start + timedelta(minutes=minute, milliseconds=number),
                model=rng.choice(MODELS),
                model_version="0123456789abcdef",
                outcome="ok" if rng.random() > 1 / 30 else "overloaded",
                timings=Timings(0.4, rng.uniform(1, 5), total_ms * 0.2, total_ms * 0.5, total_ms),
                top=tuple(Prediction(class_id, f"label of class {class_id}", 0.2) for class_id in classes),
                batch_size=rng.randint(1, 32),
                dispatch="backlog",
                image=ImageInfo("JPEG", 451, 300),
                digest="ab" * 32,
            )


def seed_month(store: JournalStore, receipts_a_minute: int) -> None:
    """Append a month of receipts, an hour at a time."""
    start = NOW - timedelta(days=DAYS)
    for hour in track(range(DAYS * 24), description="Seeding a month", transient=True):
        store.append(list(make_receipts(start + timedelta(hours=hour), 60, receipts_a_minute, seed=hour)))


def time_reads(store: JournalStore) -> dict[str, dict[str, float]]:
    """Return the milliseconds of each of the dashboard's queries."""

    def history(span: timedelta, buckets: int, model: str | None = None) -> Callable[[], object]:
        return lambda: store.read_history(since=NOW - span, until=NOW, buckets=buckets, model=model)

    def slowest(span: timedelta, model: str | None = None) -> Callable[[], object]:
        return lambda: store.read_receipts(since=NOW - span, until=NOW, order="slowest", limit=20, model=model)

    month, day, hour = timedelta(days=DAYS), timedelta(days=1), timedelta(hours=1)
    questions = {
        "history, 30 days in 120 buckets": history(month, 120),
        "history, 30 days in 120 buckets, one model": history(month, 120, MODELS[0]),
        "history, 7 days in 120 buckets": history(timedelta(days=7), 120),
        "history, 24 hours in 120 buckets": history(day, 120),
        "history, 1 hour in 60 buckets": history(hour, 60),
        "history, 5 minutes in 60 buckets": history(timedelta(minutes=5), 60),
        "20 slowest of 30 days": slowest(month),
        "20 slowest of 30 days, one model": slowest(month, MODELS[0]),
        "20 slowest of the last hour": slowest(hour),
        "20 slowest of the last hour, one model": slowest(hour, MODELS[0]),
        "20 newest of 30 days": lambda: store.read_receipts(since=NOW - month, until=NOW, order="newest", limit=20),
    }
    return {name: _time(question) for name, question in questions.items()}


def time_writes(store: JournalStore) -> dict[str, float]:
    """Return the time to append 130 receipts, a second's worth, and 1,000."""
    costs = {}
    for rows in (130, 1000):
        batches = [list(make_receipts(NOW + timedelta(seconds=s), 1, rows, seed=10_000 + s)) for s in range(REPEATS)]
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        for batch in batches:
            store.append(batch)
        costs[f"append of {rows}, wall ms"] = (time.perf_counter() - wall_s) * 1e3 / REPEATS
        costs[f"append of {rows}, own CPU ms"] = (time.process_time() - cpu_s) * 1e3 / REPEATS
    return costs


def time_record(store: JournalStore) -> float:
    """Return the microseconds of one `record`. Closes the store."""
    receipts = list(make_receipts(NOW, 10, 1000, seed=1))
    journal = JournalWriter(
        store, capacity=20_000, retention=timedelta(days=DAYS), max_rows=5_000_000, flush_interval_s=3600
    )
    # One day later than all else, so that closing merges into rollups that the reads did not time.
    late = [replace(receipt, received_at=receipt.received_at + timedelta(days=1)) for receipt in receipts[:900]]
    start_s = time.perf_counter()
    for receipt in late:
        journal.record(receipt)
    record_us = (time.perf_counter() - start_s) * 1e6 / len(late)
    journal.close()
    return record_us


def measure(url: str, receipts_a_minute: int) -> dict[str, object]:
    """Seed one database and return its figures."""
    store = SqlJournalStore(url, now=lambda: NOW)
    store.migrate()
    seed_month(store, receipts_a_minute)
    reads = time_reads(store)
    writes = time_writes(store)
    return {"version": _read_version(url), "reads_ms": reads, "writes_ms": writes, "record_us": time_record(store)}


def _read_version(url: str) -> str:
    engine = create_engine(parse_url(url))
    with engine.connect():
        return ".".join(str(part) for part in engine.dialect.server_version_info or ())


def _time(question: Callable[[], object]) -> dict[str, float]:
    taken_ms = []
    for _ in range(REPEATS):
        start_s = time.perf_counter()
        question()
        taken_ms.append((time.perf_counter() - start_s) * 1e3)
    return {"first": taken_ms[0], "median": statistics.median(taken_ms), "slowest": max(taken_ms)}


def _print(name: str, figures: dict[str, object], console: Console) -> None:
    table = Table("question", "first ms", "median ms", "slowest ms", title=name)
    reads, writes = figures["reads_ms"], figures["writes_ms"]
    assert isinstance(reads, dict)  # noqa: S101 - tells mypy what `measure` returns
    assert isinstance(writes, dict)  # noqa: S101
    for question, taken in reads.items():
        table.add_row(question, *(f"{taken[key]:.1f}" for key in ("first", "median", "slowest")))
    for cost, value in writes.items():
        table.add_row(cost, "", f"{value:.1f}", "")
    table.add_row("record, µs", "", f"{figures['record_us']:.1f}", "")
    console.print(table)


def main() -> None:
    """Seed, measure and print; keep the figures where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", metavar="URL", help="an empty PostgreSQL database to measure as well")
    parser.add_argument("--receipts-a-minute", type=int, default=10, help="traffic of each minute of the month")
    parser.add_argument("--json", action="store_true", help="keep the figures in bench/results")
    arguments = parser.parse_args()

    console = Console()
    results: dict[str, object] = {"receipts": DAYS * 1440 * arguments.receipts_a_minute}
    with tempfile.TemporaryDirectory() as folder:
        urls = {"SQLite": f"sqlite:///{Path(folder) / 'journal.sqlite3'}"}
        if arguments.postgresql:
            urls["PostgreSQL"] = arguments.postgresql
        for name, url in urls.items():
            figures = measure(url, arguments.receipts_a_minute)
            _print(name, figures, console)
            results[name] = figures
    if arguments.json:
        packages = ("sqlalchemy", "psycopg", "numpy")
        environment = describe_environment("python -m bench.history --json --postgresql <url>", packages)
        console.print(f"Kept in {write_result('history', {**environment, 'results': results})}")


if __name__ == "__main__":
    main()
