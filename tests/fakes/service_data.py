"""The fake service's models, answers, history, costs and status: plausible and deterministic.

Messages of the wire contract are made by the real application (`responses/serializers.py`).
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from bento_service.domain import history as past
from bento_service.domain.models import ModelCard
from bento_service.domain.requests import OUTCOME_OK, Answer, ImageInfo, Prediction, Receipt, Timings
from bento_service.domain.runner import BatchCost, Dispatch, DispatchReason, EngineMode, ModelCost
from bento_service.domain.service import ServedModel, ServiceState, ServiceStatus
from bento_service.http.responses import serializers
from bento_service.journal.base import Order
from lightbox_client import contract
from tests.fakes import classifier as fake_classifier

TOP_CLASSES = {
    285: "Egyptian cat",
    281: "tabby",
    282: "tiger cat",
    287: "lynx",
    283: "Persian cat",
    904: "window screen",
    721: "pillow",
    728: "plastic bag",
    753: "radiator",
    278: "kit fox",
}
LABELS = tuple(TOP_CLASSES.get(class_id, f"class {class_id}") for class_id in range(1000))
RANKING = (*TOP_CLASSES, *(class_id for class_id in range(len(LABELS)) if class_id not in TOP_CLASSES))
TOP_SCORE = 0.3561
SCORE_FALL = 1 - TOP_SCORE
"""A geometric series that starts at TOP_SCORE and adds up to 1 falls by this factor."""
CACHED = Timings(receive_ms=0.4, queue_ms=0.1, total_ms=0.6)
STAGES = ("receive", "decode", "queue", "inference")
BATCH_SIZES = (1, 2, 4, 8)
CEILING = 4
"""The largest batch of each model: those of 8 were measured at warm-up and do not run."""
DISPATCH_REASONS = ("lane_free", "backlog", "lane_free", "held", "lane_free", "bisected", "shrunk", "recovered")
CACHE = MappingProxyType(
    {"hit": 60.0, "shared": 5.0, "miss": 135.0, "recent_hit_rate": 0.325, "entries": 135.0, "bytes": 667_440.0}
)
_SIZES_PX = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}


def served_models() -> tuple[ServedModel, ...]:
    """Three EfficientNet-Lite models, the first of them the default."""
    return tuple(
        fake_classifier.served_model(name, is_default=position == 0, labels=LABELS, size_px=size_px)
        for position, (name, size_px) in enumerate(_SIZES_PX.items())
    )


def predictions(top_k: int) -> tuple[Prediction, ...]:
    """The best `top_k` of a distribution that falls geometrically from TOP_SCORE: an Egyptian cat."""
    return tuple(
        Prediction(class_id, LABELS[class_id], TOP_SCORE * SCORE_FALL**rank)
        for rank, class_id in enumerate(RANKING[:top_k])
    )


def answer_for(request_id: str, card: ModelCard, image: ImageInfo, warnings: tuple[str, ...], top_k: int) -> Answer:
    """The same answer whatever the image shows."""
    answer = fake_classifier.answer_for(request_id, card, 0)
    return replace(answer, predictions=predictions(top_k), image=image, warnings=warnings)


class PastTraffic:
    """A `JournalReader` of a wave of traffic, or of none where `is_empty`."""

    is_empty = False

    def read_history(self, *, since: datetime, until: datetime, buckets: int, model: str | None = None) -> past.History:
        width = (until - since) / buckets
        parts = tuple(
            _bucket(since + width * position, 0 if self.is_empty else 40 + round(20 * math.sin(position / 4)), position)
            for position in range(buckets)
        )
        total = _bucket(since, sum(sum(part.outcomes.values()) for part in parts), 0)
        return past.History(since, until, width.total_seconds(), parts, total)

    def read_receipts(
        self,
        *,
        since: datetime,
        until: datetime,
        order: Order,
        limit: int,
        model: str | None = None,
        model_version: str | None = None,
        outcome: str | None = None,
        request_id: str | None = None,
        offset: int = 0,
    ) -> tuple[Receipt, ...]:
        """Up to 120 receipts, one a second before `until`: every tenth an error, every eighth from the cache."""
        rows = [] if self.is_empty else [_receipt(position, until) for position in range(120)]
        outcome = outcome or (OUTCOME_OK if order == "slowest" else None)
        filters = {"model": model, "model_version": model_version, "outcome": outcome, "request_id": request_id}
        for name, wanted in filters.items():
            rows = [row for row in rows if wanted in {None, getattr(row, name)}]
        if order == "slowest":
            rows.sort(key=lambda row: -row.timings.total_ms)
        return tuple(rows[offset : offset + limit])


def _bucket(start: datetime, count: int, position: int) -> past.HistoryBucket:
    if count == 0:
        return past.HistoryBucket(start, stages=dict.fromkeys(STAGES, past.Quantiles()))
    client_errors, failures, rejected = count // 40, count // 50, count // 20
    answered = count - client_errors - failures - rejected
    computed = answered - answered // 8
    timings = _stretched(1 + 0.25 * math.sin(position / 3))
    return past.HistoryBucket(
        start,
        outcomes={
            OUTCOME_OK: answered,
            "undecodable_image": client_errors,
            "inference_failed": failures,
            "overloaded": rejected,
        },
        cached=answered // 8,
        cached_total=_quantiles(CACHED.total_ms),
        stages={name: _quantiles(getattr(timings, f"{name}_ms")) for name in ("total", *STAGES)},
        batch_sizes={1: computed - computed // 2, 2: computed // 2 - computed // 4, 4: computed // 4},
        top_classes=tuple(
            (class_id, LABELS[class_id], max(1, answered // 2 ** (rank + 1)))
            for rank, class_id in enumerate(RANKING[:5])
        ),
    )


def _quantiles(p50_ms: float) -> past.Quantiles:
    return past.Quantiles(*(round(p50_ms * factor, 3) for factor in (1.0, 1.8, 2.6, 4.0)))


def _stretched(factor: float) -> Timings:
    """Timings of a computed answer, `factor` times as long, with 0.2 ms outside the stages."""
    stages = {f"{name}_ms": round(getattr(fake_classifier.COMPUTED, f"{name}_ms") * factor, 3) for name in STAGES}
    return Timings(**stages, total_ms=round(sum(stages.values()) + 0.2, 3))


def _receipt(position: int, until: datetime) -> Receipt:
    card = served_models()[position % 3].card
    is_ok = position % 10 != 9
    is_cached = is_ok and position % 8 == 7
    is_computed = is_ok and not is_cached
    return Receipt(
        request_id=f"past-{position:04d}",
        received_at=until - timedelta(seconds=position + 1),
        model=card.name,
        model_version=card.version,
        outcome=OUTCOME_OK if is_ok else "undecodable_image",
        timings=CACHED if is_cached else _stretched(1 + (position * 7 % 11) / 4),
        top=predictions(5) if is_ok else (),
        batch_size=1 + position % 4 if is_computed else 0,
        dispatch="lane_free" if is_computed else "cached" if is_cached else "",
        image=ImageInfo("JPEG", 451, 300) if is_ok else None,
        digest=f"{position:064x}",
        cached=is_cached,
    )


def model_costs(models: Iterable[str]) -> list[contract.ModelCost]:
    """The fitted costs, in the wire contract's values."""
    return [contract.ModelCost.model_validate(asdict(cost)) for cost in fitted_costs(models)]


def fitted_costs(models: Iterable[str]) -> tuple[ModelCost, ...]:
    """Each model in both modes, each slower than the one before; throughput batches slowed down since warm-up."""
    return tuple(cost for position, model in enumerate(models) for cost in _both_modes(model, 1.0 + 0.15 * position))


def dispatches(models: Iterable[str]) -> tuple[Dispatch, ...]:
    """Twenty batches, newest first, in turn of each model and for each reason that a batch may have."""
    names = list(models)
    return tuple(_dispatch(position, names[position % len(names)]) for position in range(20))


def _both_modes(model: str, work: float) -> tuple[ModelCost, ModelCost]:
    batches = tuple(BatchCost(size, 6.0 * size * work, 7.5 * size * work, 100 // size) for size in BATCH_SIZES)
    alone = BatchCost(1, 4.0 * work, 4.0 * work, 12)
    return (
        ModelCost(model, EngineMode.THROUGHPUT, CEILING, 0.8, batches),
        ModelCost(model, EngineMode.LATENCY, 1, 1.0, (alone,)),
    )


def _dispatch(position: int, model: str) -> Dispatch:
    reason = DispatchReason(DISPATCH_REASONS[position % len(DISPATCH_REASONS)])
    is_alone = reason is DispatchReason.LANE_FREE
    size = 1 if is_alone else BATCH_SIZES[position % 3]
    return Dispatch(
        model=model,
        mode=EngineMode.LATENCY if is_alone else EngineMode.THROUGHPUT,
        reason=reason,
        batch_size=size,
        waiting=0 if is_alone else position % 5,
        predicted_ms=7.5 * size,
        inference_ms=7.2 * size,
        ago_ms=40.0 + 700.0 * position,
    )


def service_status(state: ServiceState) -> ServiceStatus:
    """Two lanes on a small CPU, nothing waiting; once ready, with batches and repeated images behind it."""
    is_ready = state is ServiceState.READY
    models = served_models()
    return ServiceStatus(
        state=state,
        device=models[0].device,
        engine=models[0].engine,
        engines={model.card.name: model for model in models},
        workers=1,
        lanes=2,
        decode_threads=2,
        queue_depth=0,
        batch_ceiling=dict.fromkeys(_SIZES_PX, CEILING),
        predicted_wait_ms=0.0,
        target_p99_ms=1000.0,
        uptime_s=3600.0,
        journal={"waiting": 0, "written": 1200, "dropped": 0},
        cost=fitted_costs(_SIZES_PX) if is_ready else (),
        recent_dispatches=dispatches(_SIZES_PX) if is_ready else (),
        cache=CACHE if is_ready else {},
    )


def status(state: str = "ready") -> contract.Status:
    return serializers.to_status(service_status(ServiceState(state)))


def model_card() -> contract.ModelCard:
    """The default model's card."""
    return serializers.to_model_card(served_models()[0])


def classification(*, top_k: int = 5, warnings: tuple[str, ...] = ()) -> contract.Classification:
    image = ImageInfo("JPEG", 64, 48)
    return serializers.to_classification(answer_for("1", served_models()[0].card, image, warnings, top_k))


def cached(answer: contract.Classification) -> contract.Classification:
    """The same answer from the cache: no batch, and only waiting among its stages."""
    timings = serializers.to_history_request(_receipt(7, datetime(2026, 1, 1, tzinfo=UTC))).timings_ms
    return answer.model_copy(update={"cached": True, "batch_size": 0, "dispatch": "cached", "timings_ms": timings})


def history(since: datetime, until: datetime, buckets: int, *, is_empty: bool = False) -> contract.History:
    traffic = PastTraffic()
    traffic.is_empty = is_empty
    return serializers.to_history(traffic.read_history(since=since, until=until, buckets=buckets), None)
