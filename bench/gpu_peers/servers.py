"""Lightbox and its peers on a GPU over HTTP, all on the same engine."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.closed_loop import run_closed_loop
from bench.environments import PeerUnavailableError
from bench.models import peer_environment
from bench.photographs import write_photographs
from bench.running import running
from bench.servers import Server, choose_servers
from bento_service.domain.models import StoredModel

CONNECTIONS = (1, 16, 64, 256)
WORKERS = (1, 4)
_WARM_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class ServerFigure:
    """One server at one number of connections; `images_per_s` is None where `problem` says why it was not measured."""

    server: str
    workers: int
    connections: int
    images_per_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    failed: int = 0
    problem: str = ""


def list_servers() -> tuple[Server, ...]:
    """Return Lightbox, LitServe and BentoML, all on the same engine and in Lightbox's own environment."""
    lightbox, litserve, bentoml = choose_servers(["litserve_batched", "bentoml_batchable"])
    serve = ("-m", "bentoml", "serve", "bench.gpu_peers.bentoml_server:Classifier")
    return (
        lightbox,
        replace(litserve, key="litserve_gpu", arguments=("-m", "bench.gpu_peers.litserve_server"), venv=None),
        replace(bentoml, key="bentoml_gpu", arguments=(*serve, *bentoml.arguments[len(serve) :]), venv=None),
    )


def measure_servers(model: StoredModel, rounds: int, duration_s: float) -> list[ServerFigure]:
    """Take turns between Lightbox and its peers at each number of workers and connections; return the medians."""
    figures: list[ServerFigure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs = [path.read_bytes() for path in write_photographs(folder / "photographs")]
        for round_number in range(rounds):
            for server in list_servers():
                for workers in WORKERS:
                    place = folder / f"{server.key}-{workers}-{round_number}"
                    try:
                        figures.extend(
                            _measure_server(
                                server, photographs, place, workers=workers, model=model, duration_s=duration_s
                            )
                        )
                    except PeerUnavailableError as problem:
                        figures.append(ServerFigure(server.name, workers, 0, problem=str(problem)))
    return _summarise(figures)


def _measure_server(
    server: Server, photographs: Sequence[bytes], place: Path, *, workers: int, model: StoredModel, duration_s: float
) -> Iterator[ServerFigure]:
    bodies = place / "bodies"
    bodies.mkdir(parents=True)
    for number, photograph in enumerate(photographs):
        (bodies / f"{number:03d}.jpg").write_bytes(server.wire.encode(photograph))
    with running(server, place, peer_environment(model), workers=workers) as started:
        url, headers = started.url + server.wire.path, server.wire.headers
        run_closed_loop(url, bodies, headers, connections=max(CONNECTIONS), duration_s=_WARM_UP_S)
        for connections in CONNECTIONS:
            seen = run_closed_loop(url, bodies, headers, connections=connections, duration_s=duration_s)
            yield ServerFigure(
                server.name, workers, connections, seen.images_per_s, seen.p50_ms, seen.p99_ms, seen.failed
            )


def _summarise(figures: Sequence[ServerFigure]) -> list[ServerFigure]:
    groups: dict[tuple[str, int, int], list[ServerFigure]] = {}
    for figure in figures:
        groups.setdefault((figure.server, figure.workers, figure.connections), []).append(figure)
    return [_take_median(group) for group in groups.values()]


def _take_median(group: Sequence[ServerFigure]) -> ServerFigure:
    measured = [figure for figure in group if figure.images_per_s is not None]
    if not measured:
        return group[0]
    # The run in the middle, whole, so that its rate and its percentiles belong together.
    middle = sorted(measured, key=lambda figure: figure.images_per_s or 0.0)[len(measured) // 2]
    return replace(middle, failed=sum(figure.failed for figure in measured))
