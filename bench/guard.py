"""What a request costs on its way to our application: straight, behind the guard, and mounted in BentoML's service.

`python -m bench.guard --json` calls all three in this process, without a socket, and counts CPU time, which other
work on the machine hardly moves.
"""

import argparse
import asyncio
import time
from collections.abc import Mapping
from typing import Any

import bentoml
from rich.console import Console
from rich.table import Table
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.environment import describe_environment, write_result
from bento_service.domain.service import ServiceState, ServiceStatus
from bento_service.http.bento_gateway import BentoGateway

PATH = "/v1/nothing"
REQUESTS = 2_000
ROUNDS = 9


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for our application: the least that an answer takes."""
    await Response(b"{}", media_type="application/json")(scope, receive, send)


def show_status() -> ServiceStatus:
    """Describe a worker that is never asked."""
    return ServiceStatus(
        state=ServiceState.READY,
        device=None,
        engine="",
        workers=1,
        lanes=0,
        decode_threads=0,
        queue_depth=0,
        batch_ceiling={},
        predicted_wait_ms=0.0,
        target_p99_ms=0.0,
        uptime_s=0.0,
        journal={},
    )


def ignore_request(route: str, method: str, status: int, seconds: float) -> None:
    """Count nothing, so that the guard is measured and not the metrics behind it."""


def mount_in_bentoml() -> ASGIApp:
    """Return BentoML's application with ours mounted in it, as the service is configured: no access log."""

    class Mounted:
        """A service without a call of its own."""

    # BentoML's decorator is typed as if it returned the class.
    service: Any = bentoml.service(traffic={"timeout": 3600}, logging={"access": {"enabled": False}})(Mounted)
    service.mount_asgi_app(answer, path="/v1")
    app: ASGIApp = service.to_asgi()
    return app


def make_paths() -> Mapping[str, ASGIApp]:
    """Return the ways to our application, by name."""
    mounted = mount_in_bentoml()
    guard = BentoGateway(mounted, answer, ("/",), status=show_status, on_request=ignore_request)
    return {"straight": answer, "guard": guard, "bentoml": mounted}


async def measure_us(app: ASGIApp) -> float:
    """Return microseconds of CPU time a request."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise RuntimeError(f"status {message['status']}")

    started_s = time.process_time()
    for _ in range(REQUESTS):
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": PATH,
            "raw_path": PATH.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 3000),
            "state": {},
        }
        await app(scope, receive, send)
    return (time.process_time() - started_s) / REQUESTS * 1e6


async def measure_all() -> dict[str, list[float]]:
    """Return each way's figures, lowest first; the rounds take turns."""
    paths = make_paths()
    figures: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(ROUNDS):
        for name, app in paths.items():
            figures[name].append(await measure_us(app))
    return {name: sorted(values) for name, values in figures.items()}


def main() -> None:
    """Measure and print; with `--json`, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="write bench/results/guard-<date>.json")
    arguments = parser.parse_args()
    figures = asyncio.run(measure_all())
    table = Table("way", "median, µs of CPU", "lowest", "highest")
    rows = {
        name: {"median_us": values[ROUNDS // 2], "lowest_us": values[0], "highest_us": values[-1]}
        for name, values in figures.items()
    }
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.1f}" for value in row.values()))
    console = Console()
    console.print(table)
    if arguments.json:
        environment = describe_environment("python -m bench.guard --json", ("bentoml", "starlette"))
        console.print(write_result("guard", environment | {"requests": REQUESTS, "rounds": ROUNDS, "results": rows}))


if __name__ == "__main__":
    main()
