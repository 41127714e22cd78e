"""What the fake service answers with: plausible, deterministic, and built from the wire contract itself."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from lightbox_client.contract import (
    ClassCount,
    Classification,
    DeviceInfo,
    History,
    HistoryBucket,
    HistoryRequest,
    HistoryRequests,
    ImageInfo,
    InputSize,
    Labels,
    ModelCard,
    ModelList,
    ModelRef,
    Parity,
    Prediction,
    QuantilesMs,
    Status,
    TimingsMs,
    Version,
)
from tests.fakes import runner_data

LABELS_COUNT = 1000
DEFAULT_MODEL = "efficientnet_lite0"
TOP_CLASSES = (
    (285, "Egyptian cat"),
    (281, "tabby"),
    (282, "tiger cat"),
    (287, "lynx"),
    (283, "Persian cat"),
    (904, "window screen"),
    (721, "pillow"),
    (728, "plastic bag"),
    (753, "radiator"),
    (278, "kit fox"),
)
TOP_SCORE = 0.3561
SCORE_FALL = 1 - TOP_SCORE
"""A geometric series that starts at TOP_SCORE and adds up to 1 falls by this factor."""
STAGES_MS = {"receive": 0.4, "decode": 1.3, "queue": 2.0, "inference": 9.1}
CACHED_MS = TimingsMs(receive=0.4, decode=0.0, queue=0.1, inference=0.0, total=0.6)
_KNOWN_LABELS = dict(TOP_CLASSES)
_SIZES_PX = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}


def model_cards() -> ModelList:
    """Three EfficientNet-Lite cards, the first of them the default."""
    return ModelList(
        models=[
            ModelCard(
                name=name,
                version=f"{position + 1:012x}",
                is_default=name == DEFAULT_MODEL,
                labels_count=LABELS_COUNT,
                input_size=InputSize(width=size_px, height=size_px),
                source="bundled",
                licence="Apache-2.0",
                engine="openvino",
                precision="f32",
                state="ready",
                parity=Parity(crops=240, top1_agreement=1.0, max_probability_difference=0.004),
            )
            for position, (name, size_px) in enumerate(_SIZES_PX.items())
        ]
    )


def model_card(name: str | None) -> ModelCard | None:
    """The card of that name, the default's for None, and None where there is no such model."""
    wanted = name or DEFAULT_MODEL
    return next((card for card in model_cards().models if card.name == wanted), None)


def model_labels(card: ModelCard) -> Labels:
    """A thousand labels: real ones for TOP_CLASSES, `class <id>` for the others."""
    names = [_KNOWN_LABELS.get(class_id, f"class {class_id}") for class_id in range(LABELS_COUNT)]
    return Labels(model=ModelRef(name=card.name, version=card.version), labels=names)


def ranked_predictions(top_k: int) -> list[Prediction]:
    """The best `top_k` of a distribution that falls geometrically from TOP_SCORE."""
    others = ((class_id, f"class {class_id}") for class_id in range(LABELS_COUNT) if class_id not in _KNOWN_LABELS)
    ranking = [*TOP_CLASSES, *others][:top_k]
    return [
        Prediction(class_id=class_id, label=label, score=TOP_SCORE * SCORE_FALL**rank)
        for rank, (class_id, label) in enumerate(ranking)
    ]


def timings_ms(stretch: float = 1.0) -> TimingsMs:
    """STAGES_MS, `stretch` times as long, with 0.2 ms that belong to no stage."""
    stages = {stage: round(value * stretch, 3) for stage, value in STAGES_MS.items()}
    return TimingsMs(**stages, total=round(sum(stages.values()) + 0.2, 3))


def classification(
    request_id: str, card: ModelCard, image: ImageInfo, top_k: int, warnings: list[str]
) -> Classification:
    """An answer: Egyptian cat with 0.3561 on top, whatever the image shows."""
    return Classification(
        request_id=request_id,
        model=ModelRef(name=card.name, version=card.version),
        predictions=ranked_predictions(top_k),
        image=image,
        warnings=warnings,
        cached=False,
        batch_size=4,
        dispatch="lane_free",
        timings_ms=timings_ms(),
    )


def history(since: datetime, until: datetime, buckets: int, model: str | None, *, is_empty: bool) -> History:
    """A gentle wave of traffic over the window; buckets without any where `is_empty`."""
    width = (until - since) / buckets
    parts = [
        _bucket(since + width * position, 0 if is_empty else 40 + round(20 * math.sin(position / 4)), position)
        for position in range(buckets)
    ]
    total = _bucket(since, sum(part.count for part in parts), 0)
    return History(since=since, until=until, model=model, bucket_s=width.total_seconds(), buckets=parts, total=total)


def _bucket(start: datetime, count: int, position: int) -> HistoryBucket:
    if count == 0:
        nothing = QuantilesMs()
        return HistoryBucket(
            start=start,
            count=0,
            errors=0,
            client_errors=0,
            failures=0,
            shed=0,
            outcomes={},
            cached=0,
            total_ms=nothing,
            stages_ms=dict.fromkeys(STAGES_MS, nothing),
            batch_sizes={},
            top_classes=[],
        )
    client_errors, failures, shed = count // 40, count // 50, count // 20
    answered = count - client_errors - failures - shed
    cached = answered // 8
    computed = answered - cached
    stretch = 1 + 0.25 * math.sin(position / 3)
    return HistoryBucket(
        start=start,
        count=count,
        errors=client_errors + failures,
        client_errors=client_errors,
        failures=failures,
        shed=shed,
        outcomes={
            "ok": answered,
            "undecodable_image": client_errors,
            "inference_failed": failures,
            "overloaded": shed,
        },
        cached=cached,
        cached_ms=_quantiles(CACHED_MS.total),
        total_ms=_quantiles(timings_ms(stretch).total),
        stages_ms={stage: _quantiles(value * stretch) for stage, value in STAGES_MS.items()},
        batch_sizes={1: computed - computed // 2, 2: computed // 2 - computed // 4, 4: computed // 4},
        top_classes=[
            ClassCount(class_id=class_id, label=label, count=max(1, answered // 2 ** (rank + 1)))
            for rank, (class_id, label) in enumerate(TOP_CLASSES[:5])
        ],
    )


def _quantiles(p50_ms: float) -> QuantilesMs:
    return QuantilesMs(
        p50=round(p50_ms, 3), p95=round(p50_ms * 1.8, 3), p99=round(p50_ms * 2.6, 3), max=round(p50_ms * 4, 3)
    )


def history_requests(until: datetime, query: Mapping[str, str], *, is_empty: bool) -> HistoryRequests:
    """Up to 120 receipts, one a second before `until`: every tenth an error, every eighth from the cache."""
    rows = [] if is_empty else [_receipt(position, until) for position in range(120)]
    is_slowest = query.get("order") == "slowest"
    outcome = query.get("outcome") or ("ok" if is_slowest else None)
    for name, wanted in (("model", query.get("model")), ("outcome", outcome), ("request_id", query.get("request_id"))):
        rows = [row for row in rows if wanted in {None, getattr(row, name)}]
    if is_slowest:
        rows.sort(key=lambda row: -row.timings_ms.total)
    offset = int(query.get("offset", "0"))
    return HistoryRequests(requests=rows[offset : offset + int(query.get("limit", "20"))])


def _receipt(position: int, until: datetime) -> HistoryRequest:
    card = model_cards().models[position % 3]
    is_ok, is_cached = position % 10 != 9, position % 8 == 7
    is_computed = is_ok and not is_cached
    computed_ms = timings_ms(1 + (position * 7 % 11) / 4)
    return HistoryRequest(
        request_id=f"past-{position:04d}",
        received_at=until - timedelta(seconds=position + 1),
        model=card.name,
        model_version=card.version,
        outcome="ok" if is_ok else "undecodable_image",
        predictions=ranked_predictions(5) if is_ok else [],
        image=ImageInfo(format="JPEG", width=451, height=300) if is_ok else None,
        digest=f"{position:064x}",
        warnings=[],
        cached=is_ok and is_cached,
        batch_size=1 + position % 4 if is_computed else 0,
        dispatch="lane_free" if is_computed else "cached" if is_ok else "",
        timings_ms=CACHED_MS if is_ok and is_cached else computed_ms,
    )


def cached(answer: Classification) -> Classification:
    """The same answer as it comes from the cache: no batch, and only waiting among its stages."""
    changes = {"cached": True, "batch_size": 0, "dispatch": "cached", "timings_ms": CACHED_MS}
    return answer.model_copy(update=changes)


def status(state: str = "ready") -> Status:
    """Two lanes on a small CPU, nothing waiting; once ready, with batches and repeated images behind it."""
    is_ready = state == "ready"
    return Status(
        state=state,
        device=DeviceInfo(kind="cpu", name="Example CPU @ 2.60GHz", memory_bytes=8_000_000_000, cores=2),
        engine="openvino",
        workers=1,
        lanes=2,
        decode_threads=2,
        queue_depth=0,
        batch_ceiling=dict.fromkeys(_SIZES_PX, runner_data.CEILING),
        predicted_wait_ms=0.0,
        target_p99_ms=1000.0,
        uptime_s=3600.0,
        journal={"waiting": 0, "written": 1200, "dropped": 0},
        cost=runner_data.model_costs(_SIZES_PX) if is_ready else [],
        recent_dispatches=runner_data.dispatches(_SIZES_PX) if is_ready else [],
        cache=dict(runner_data.CACHE) if is_ready else {},
    )


def version() -> Version:
    """Versions of nothing that exists."""
    return Version(
        lightbox="0.1.0",
        python="3.11.0",
        libraries={"bentoml": "1.4.0", "openvino": "2026.1.0"},
        models={card.name: card.version for card in model_cards().models},
    )


def parse_time(value: str | None, otherwise: datetime) -> datetime:
    """Read ISO 8601 or epoch seconds, as the service does."""
    if not value:
        return otherwise
    try:
        return datetime.fromtimestamp(float(value), tz=UTC)
    except ValueError:
        return datetime.fromisoformat(value)
