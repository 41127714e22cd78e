"""What the way from a socket's bytes to the classifier and back costs a request, layer by layer, in CPU time.

`python -m bench.front --json` feeds requests to the HTTP protocol in this process, as an event loop would, with the
classifier replaced by one that answers (or refuses) at once: what is left is the cost of the front of the house. Rounds
take turns, and CPU time counts, which other work on the machine moves little. The layers include one another; the parts
are single calls.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Self

import uvicorn
import uvloop
from rich.console import Console
from rich.table import Table
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from bench.environment import describe_environment, write_result
from bench.guard import show_status
from bento_service.domain.requests import OUTCOME_OK, Answer, ImageInfo, Prediction, Receipt, Timings
from bento_service.errors import LightboxError, OverloadedError
from bento_service.http.app import create_app
from bento_service.http.bento_gateway import BentoGateway
from bento_service.http.connection.early_refusal import EarlyRefusals, RefuseEarly, never_refuse
from bento_service.http.connection.protocol import BoundedHttpProtocol
from bento_service.http.connection.refusal_pacer import RefusalPacer
from bento_service.http.in_flight import InFlightRequests
from bento_service.http.requests.body import ByteBudget
from bento_service.http.responses.serializers import JsonResponse, to_classification
from bento_service.http.state import AppState
from bento_service.pipeline.classifier import Classifier
from bento_service.pipeline.request import ImageRequest
from bento_service.settings import Settings

BODY_BYTES = 49_000
REQUESTS = 400
ROUNDS = 15
PACKAGES = ("uvicorn", "httptools", "uvloop", "starlette", "fastapi", "pydantic", "prometheus-client")


class Sink(asyncio.Transport):
    """A transport to nobody, which tells as an answer is complete."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000), "sockname": ("127.0.0.1", 3000)})
        self.protocol: BoundedHttpProtocol | None = None
        self.status = b""

    def get_protocol(self) -> Any:  # noqa: ANN401 - as asyncio types it
        """Return who gets the bytes."""
        return self.protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep the status line's code."""
        if data[:5] == b"HTTP/":
            self.status = bytes(data[9:12])

    def is_closing(self) -> bool:
        """Never."""
        return False

    def close(self) -> None:
        """Nothing: there is nobody to hang up on."""

    def pause_reading(self) -> None:
        """Nothing: what is fed is fed."""

    def resume_reading(self) -> None:
        """Nothing."""


class InstantRequest(ImageRequest):
    """An admitted image that is classified already."""

    def __init__(self, answer: Answer) -> None:
        self._instant_answer = answer

    def __enter__(self) -> Self:
        """Take no place."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write no receipt."""

    def change_parameters(self, **_: object) -> None:
        """Change nothing."""

    async def classify(self, encoded: bytes) -> Answer:
        """Answer, a turn of the event loop later, as any thread would make it."""
        await asyncio.sleep(0)
        return self._instant_answer


class InstantClassifier(Classifier):
    """Answers every image at once, or refuses it for load."""

    def __init__(self, answer: Answer, *, is_full: bool = False) -> None:
        self._answer = answer
        self._is_full = is_full

    @property
    def is_overloaded(self) -> bool:
        """As it was told."""
        return self._is_full

    def record_refusal(self, error: LightboxError, **_: object) -> None:
        """Write no receipt."""

    def open(self, **_: object) -> InstantRequest:
        """Admit one image, unless full."""
        if self._is_full:
            raise OverloadedError("The predicted wait is too long.", retry_after_s=1.0, reason="target")
        return InstantRequest(self._answer)


@dataclass(frozen=True, slots=True)
class Front:
    """One way from bytes to an answer, and the status that it should give."""

    app: ASGIApp
    status: bytes = b"200"
    refuse_early: RefuseEarly = never_refuse


async def read_and_answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for an application that does the least: it reads the body and answers two bytes."""
    while (await receive()).get("more_body", False):
        pass
    await Response(b"{}", media_type="application/json")(scope, receive, send)


def make_answer() -> Answer:
    """Return an answer like one of EfficientNet-Lite0's."""
    predictions = tuple(Prediction(class_id, f"label {class_id}", 0.3561 / (class_id + 1)) for class_id in range(5))
    image = ImageInfo("JPEG", 451, 300)
    receipt = Receipt(
        request_id="0" * 32,
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
        model="efficientnet_lite0",
        model_version="0123456789ab",
        outcome=OUTCOME_OK,
        timings=Timings(0.412, 1.312, 2.012, 9.112, 13.012),
        top=predictions,
        batch_size=1,
        dispatch="lane_free",
        image=image,
        digest="0" * 64,
    )
    return Answer(receipt, predictions, image, ())


def make_fronts(answer: Answer, observe_http: Callable[[str, str, int, float], None]) -> Mapping[str, Front]:
    """Return the layers, the outermost last; each includes those within it."""

    def gateway(app: ASGIApp) -> ASGIApp:
        return BentoGateway(read_and_answer, app, ("/",), status=show_status, on_request=observe_http)

    def edge(*, is_full: bool = False) -> AppState:
        settings = Settings()
        # None of the calls measured reads the journal.
        journal: Any = None
        classifier = InstantClassifier(answer, is_full=is_full)
        return AppState(classifier, journal, settings, ByteBudget(settings.max_inflight_bytes))

    def application(*, is_full: bool = False) -> Starlette:
        wired = edge(is_full=is_full)
        return create_app(lambda: wired, provide_status=show_status)

    full = edge(is_full=True)
    # On a clock that goes on by a second a refusal, none is held.
    pacer = RefusalPacer(cpus=1, clock=count().__next__)
    refuse_early = EarlyRefusals(lambda: full, pacer=pacer, on_request=observe_http, is_draining=lambda: False)

    return {
        "protocol": Front(read_and_answer),
        "protocol + open requests": Front(InFlightRequests(read_and_answer)),
        "protocol + gateway with metrics": Front(gateway(read_and_answer)),
        "protocol + application": Front(application()),
        "all": Front(gateway(InFlightRequests(application()))),
        "all, refused by the application": Front(gateway(InFlightRequests(application(is_full=True))), b"429"),
        "all, refused by its headers": Front(read_and_answer, b"429", refuse_early),
    }


async def measure_front_us(front: Front) -> float:
    """Return microseconds of CPU time a request over one kept-alive connection."""
    config = uvicorn.Config(front.app, interface="asgi3", lifespan="off", log_config=None, server_header=False)
    config.load()
    state = ServerState()
    transport = Sink()
    protocol = BoundedHttpProtocol(config, state, {}, refuse_early=front.refuse_early)
    transport.protocol = protocol
    protocol.connection_made(transport)
    head = f"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {BODY_BYTES}"
    request = head.encode() + b"\r\n\r\n" + bytes(BODY_BYTES)
    # As a socket gives it: an object of its own each time.
    received = [memoryview(request).tobytes() for _ in range(REQUESTS)]
    started_s = time.thread_time()
    for data in received:
        protocol.data_received(data)
        while not protocol.cycle.response_complete:  # noqa: ASYNC110 - each turn of the loop is what is measured
            await asyncio.sleep(0)
        if transport.status != front.status:
            raise RuntimeError(f"status {transport.status!r}, not {front.status!r}")
    spent_s = time.thread_time() - started_s
    await asyncio.gather(*state.tasks)
    protocol.connection_lost(None)
    return spent_s / REQUESTS * 1e6


def measure_part_us(call: Callable[[], object]) -> float:
    """Return microseconds of CPU time a call."""
    started_s = time.thread_time()
    for _ in range(REQUESTS):
        call()
    return (time.thread_time() - started_s) / REQUESTS * 1e6


async def measure(rounds: int) -> dict[str, list[float]]:
    """Return the figures of each layer and part, lowest first; the rounds take turns."""
    # Here, since prometheus_client settles as it is imported on whether values are shared between processes.
    from bento_service.observability.metrics import Metrics  # noqa: PLC0415

    metrics = Metrics()
    answer = make_answer()
    fronts = make_fronts(answer, metrics.observe_http)
    parts: Mapping[str, Callable[[], object]] = {
        "metrics of a receipt": lambda: metrics.observe_receipt(answer.receipt),
        "metrics of an HTTP request": lambda: metrics.observe_http("/v1/classify", "POST", 200, 0.013),
        "JSON of an answer": lambda: JsonResponse(to_classification(answer)),
    }
    figures: dict[str, list[float]] = {name: [] for name in (*fronts, *parts)}
    for _ in range(rounds):
        for name, front in fronts.items():
            figures[name].append(await measure_front_us(front))
        for name, call in parts.items():
            figures[name].append(measure_part_us(call))
    return {name: sorted(values) for name, values in figures.items()}


def main() -> None:
    """Measure and print; with `--json`, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="write bench/results/front-<date>.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # As BentoML has it for its workers.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        figures = uvloop.run(measure(arguments.rounds))
    table = Table("", "median, µs of CPU", "lowest", "highest")
    rows = {
        name: {"median_us": values[len(values) // 2], "lowest_us": values[0], "highest_us": values[-1]}
        for name, values in figures.items()
    }
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.1f}" for value in row.values()))
    console = Console()
    console.print(table)
    if arguments.json:
        settled = {"requests": REQUESTS, "rounds": arguments.rounds, "body_bytes": BODY_BYTES, "results": rows}
        console.print(write_result("front", describe_environment("python -m bench.front --json", PACKAGES) | settled))


if __name__ == "__main__":
    main()
