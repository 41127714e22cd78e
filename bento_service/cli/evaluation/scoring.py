"""The scores of labelled photographs: by a running service, or in this process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bento_service.bootstrap import open_local
from bento_service.cli.classification import ask_service, classify_here, failing_alone
from bento_service.cli.local import prepare_local
from bento_service.cli.models.preparing import open_store
from bento_service.evaluation.figures import TOP
from bento_service.evaluation.folders import Photograph
from bento_service.evaluation.tally import Scored
from bento_service.machine import count_cpus
from bento_service.pipeline.classifier import Classifier
from bento_service.worker.tuning import tune_runtime
from lightbox_client import Client
from lightbox_client.contract import Classification
from lightbox_client.payload import read_payload

Score: TypeAlias = Callable[[Photograph], Awaitable[Scored]]
"""Scores one photograph; raises `FileFailedError`, or an error that concerns every photograph and ends the run."""

FIRST_CLASSES = 20
"""Classes that the service is asked for first; all, where the right one is not among these."""
_IN_FLIGHT_PER_CPU = 32
"""In this process: larger batches need less of Python."""
_MAX_IN_FLIGHT = 64


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores photographs by a model that is loaded; `engine` says which engine runs it, in which precision."""

    engine: str
    score: Score


@dataclass(frozen=True, slots=True)
class Subject:
    """One model to evaluate. `open` loads what it takes; `in_flight` photographs keep it busy."""

    name: str
    version: str
    score_kind: str
    labels: tuple[str, ...]
    in_flight: int
    open: Callable[[], AbstractAsyncContextManager[Scorer]]

    @property
    def key(self) -> str:
        """`name:version`."""
        return f"{self.name}:{self.version}"


def find_served(client: Client, model: str, concurrency: int | None) -> Subject:
    """Return a model of a running service.

    Its version is asked for by name, so that no canary and no change of the champion mixes two versions.

    Raises:
        LightboxClientError: It is not served, or the service cannot be reached.
    """
    card, status = client.model(model), client.status()
    labels = tuple(client.labels(model).labels)
    key = f"{card.name}:{card.version}"
    lanes = status.workers * (status.lanes + status.decode_threads)
    in_flight = concurrency or max(8, min(_MAX_IN_FLIGHT, 4 * lanes))

    @asynccontextmanager
    async def opened() -> AsyncIterator[Scorer]:
        with ThreadPoolExecutor(in_flight, thread_name_prefix="evaluate") as threads:

            async def score(photograph: Photograph) -> Scored:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(threads, _ask, client, key, len(labels), photograph)

            yield Scorer(f"{card.engine} {card.precision}", score)

    return Subject(card.name, card.version, card.score_kind, labels, in_flight, opened)


def find_stored(model: str, concurrency: int | None) -> Subject:
    """Return a stored model, to run in this process; one that can be prepared is.

    Raises:
        LightboxError: It cannot be had.
        CommandError: It cannot be prepared.
    """
    settings, name = prepare_local(model)
    card = open_store().load(name).card
    key = f"{card.name}:{card.version}"

    @asynccontextmanager
    async def opened() -> AsyncIterator[Scorer]:
        async with open_local(settings, model=key) as classifier:

            async def score(photograph: Photograph) -> Scored:
                return await _score_here(classifier, photograph)

            tune_runtime()
            served = classifier.find_model(key)
            yield Scorer(f"{served.engine} {served.precision}", score)

    in_flight = concurrency or min(_MAX_IN_FLIGHT, _IN_FLIGHT_PER_CPU * count_cpus())
    return Subject(card.name, card.version, card.score_kind, card.labels, in_flight, opened)


async def _score_here(classifier: Classifier, photograph: Photograph) -> Scored:
    with failing_alone():
        # On the event loop: a file takes less time to read than a thread to reach.
        payload = read_payload(Path(photograph.path))
    answer = await classify_here(classifier, payload.encoded, model=None, top_k=TOP)
    timings = answer.receipt.timings
    return Scored(
        best=[(prediction.class_id, prediction.score) for prediction in answer.predictions],
        true_score=float(answer.scores[photograph.class_id]),
        decode_ms=timings.decode_ms,
        inference_ms=timings.inference_ms / max(1, answer.receipt.batch_size),
        total_ms=timings.total_ms,
    )


def _ask(client: Client, key: str, class_count: int, photograph: Photograph) -> Scored:
    path = Path(photograph.path)
    answer = ask_service(client, path, model=key, top_k=FIRST_CLASSES, priority="bulk")
    true_score = _find_score(answer, photograph.class_id)
    if true_score is None:
        # The service's cache has the scores of all classes, so this costs no inference unless it is switched off.
        whole = ask_service(client, path, model=key, top_k=class_count, priority="bulk")
        true_score = _find_score(whole, photograph.class_id) or 0.0
    timings = answer.timings_ms
    return Scored(
        best=[(prediction.class_id, prediction.score) for prediction in answer.predictions[:TOP]],
        true_score=true_score,
        is_cached=answer.cached,
        decode_ms=timings.decode,
        inference_ms=timings.inference / max(1, answer.batch_size),
        total_ms=timings.total,
    )


def _find_score(answer: Classification, class_id: int) -> float | None:
    return next((one.score for one in answer.predictions if one.class_id == class_id), None)
