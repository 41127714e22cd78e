"""The servers that are compared: Lightbox and its peers, how each is started, and how it is asked."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.models import MODEL
from bench.peers.classifier import PORT_VARIABLE, WORKERS_VARIABLE
from bench.wire import Wire, form, raw, triton

LIGHTBOX = "lightbox"
Kind = Literal["lightbox", "unbatched", "batching", "eager"]


@dataclass(frozen=True, slots=True)
class Server:
    """One server.

    `arguments` follow the interpreter of its virtual environment `venv`, Lightbox's own where that is None. Its
    requirements are those of the folder `bench/peers/<venv>`. `{port}` stands for its port, in `arguments` and in the
    values of `variables`, and `{workers}` for its workers. It scales where it has a setting for several workers.
    """

    key: str
    name: str
    kind: Kind
    wire: Wire
    ready_path: str
    arguments: Sequence[str]
    venv: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    interpreter: str = sys.executable

    def command(self, python: str, port: int) -> list[str]:
        """Return what to run, given the interpreter of its environment."""
        return [python, *(argument.format(port=port) for argument in self.arguments)]

    def environment(self, port: int, workers: int) -> dict[str, str]:
        """Return what it needs in its environment, beside what every server gets."""
        return {name: value.format(port=port, workers=workers) for name, value in self.variables.items()}


_PEER_VARIABLES = {PORT_VARIABLE: "{port}", WORKERS_VARIABLE: "{workers}"}
_SYSTEM_PYTHON = "/usr/bin/python3"


def list_servers() -> tuple[Server, ...]:
    """Return every server, Lightbox first."""
    return (
        Server(
            key=LIGHTBOX,
            name="Lightbox",
            kind="lightbox",
            wire=raw("/v1/classify"),
            ready_path="/readyz",
            arguments=("-m", "bento_service.cli.app", "serve", "--port", "{port}"),
            # The photographs repeat, so a cache would answer for the model.
            variables={"LIGHTBOX_CACHE_BYTES": "0", "LIGHTBOX_WORKERS": "{workers}", "LIGHTBOX_MODELS": MODEL},
        ),
        _python_peer("fastapi_torch", "FastAPI, eager PyTorch", "eager", raw("/classify"), "/health", venv=None),
        _python_peer("fastapi_openvino", "FastAPI, a thread a request", "unbatched", raw("/classify"), "/health"),
        _python_peer(
            "litserve_batched", "LitServe, dynamic batching", "batching", form("/classify", "image"), "/health"
        ),
        _bentoml_peer("bentoml_batchable", "BentoML, `batchable=True` in one service", form("/classify", "images")),
        _bentoml_peer("bentoml_depends", "BentoML, API service and `depends()`", form("/classify", "image")),
        _python_peer("ray_serve", "Ray Serve, `@serve.batch`", "batching", raw("/classify"), "/-/healthz"),
        _python_peer(
            "triton",
            "Triton, dynamic batcher, Python backend",
            "batching",
            triton("classifier"),
            "/v2/models/classifier/ready",
            # Triton's Python backend links against the system's libpython.
            interpreter=_SYSTEM_PYTHON,
        ),
    )


def choose_servers(keys: Sequence[str]) -> tuple[Server, ...]:
    """Return the servers of these keys, or all of them if there are none; Lightbox always.

    Raises:
        ValueError: There is no such server.
    """
    servers = list_servers()
    if unknown := set(keys) - {server.key for server in servers}:
        known = ", ".join(server.key for server in servers)
        raise ValueError(f"There is no server {', '.join(sorted(unknown))}; there are {known}.")
    return tuple(server for server in servers if not keys or server.key in {*keys, LIGHTBOX})


_OWN = "own"


def _python_peer(
    key: str,
    name: str,
    kind: Kind,
    wire: Wire,
    ready_path: str,
    *,
    venv: str | None = _OWN,
    interpreter: str = sys.executable,
) -> Server:
    return Server(
        key=key,
        name=name,
        kind=kind,
        wire=wire,
        ready_path=ready_path,
        arguments=("-m", f"bench.peers.{key}.server"),
        venv=key if venv == _OWN else venv,
        variables=_PEER_VARIABLES,
        interpreter=interpreter,
    )


def _bentoml_peer(key: str, name: str, wire: Wire) -> Server:
    service = f"bench.peers.{key}.server:Classifier"
    return Server(
        key=key,
        name=name,
        kind="batching",
        wire=wire,
        ready_path="/readyz",
        arguments=("-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", "{port}"),
        venv="bentoml_batchable",
        variables={**_PEER_VARIABLES, "BENTOML_DO_NOT_TRACK": "True"},
    )
