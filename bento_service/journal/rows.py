"""Receipts and rollups as rows of the database, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import Row

from bento_service.domain.requests import ImageInfo, Prediction, Receipt, Timings
from bento_service.journal.epoch import from_epoch_us, to_epoch_us
from bento_service.journal.rollups import Rollup, RollupKey, estimate_slowest
from bento_service.journal.tallies import decode


def from_receipt(receipt: Receipt) -> dict[str, object]:
    """Return a receipt's columns."""
    timings, image = receipt.timings, receipt.image
    return {
        "request_id": receipt.request_id,
        "received_at_us": to_epoch_us(receipt.received_at),
        "model": receipt.model,
        "model_version": receipt.model_version,
        "outcome": receipt.outcome,
        "receive_ms": timings.receive_ms,
        "decode_ms": timings.decode_ms,
        "queue_ms": timings.queue_ms,
        "inference_ms": timings.inference_ms,
        "total_ms": timings.total_ms,
        "top": [{"class_id": p.class_id, "label": p.label, "score": p.score} for p in receipt.top],
        "batch_size": receipt.batch_size,
        "dispatch": receipt.dispatch,
        "image_format": image.format if image else None,
        "image_width_px": image.width_px if image else None,
        "image_height_px": image.height_px if image else None,
        "digest": receipt.digest,
        "cached": receipt.cached,
        "warnings": list(receipt.warnings),
    }


def to_receipt(row: Row[Any]) -> Receipt:
    """Return the receipt of a row of `receipts`."""
    image = None
    if row.image_format is not None:
        image = ImageInfo(format=row.image_format, width_px=row.image_width_px, height_px=row.image_height_px)
    return Receipt(
        request_id=row.request_id,
        received_at=from_epoch_us(row.received_at_us),
        model=row.model,
        model_version=row.model_version,
        outcome=row.outcome,
        timings=Timings(
            receive_ms=row.receive_ms,
            decode_ms=row.decode_ms,
            queue_ms=row.queue_ms,
            inference_ms=row.inference_ms,
            total_ms=row.total_ms,
        ),
        top=tuple(Prediction(**prediction) for prediction in row.top),
        batch_size=row.batch_size,
        dispatch=row.dispatch,
        image=image,
        digest=row.digest,
        cached=row.cached,
        warnings=tuple(row.warnings),
    )


def from_rollup(key: RollupKey, rollup: Rollup) -> dict[str, object]:
    """Return a rollup's columns."""
    return {
        "resolution_s": key.resolution_s,
        "start_s": key.start_s,
        "model": key.model,
        "outcomes": dict(rollup.outcomes),
        "durations": rollup.durations.encode(),
        "slowest_ms": rollup.slowest_ms.astype("<f8", copy=False).tobytes(),
        "batch_sizes": rollup.batch_sizes.encode(),
        "classes": rollup.classes.encode(),
    }


def to_rollup(
    outcomes: Mapping[str, int], durations: bytes, slowest_ms: bytes | None, batch_sizes: bytes, classes: bytes
) -> Rollup:
    """Return the rollup of a row's columns. One stored before revision 0002 has no `slowest_ms`; it is estimated."""
    counted = decode(durations)
    slowest = estimate_slowest(counted) if slowest_ms is None else np.frombuffer(slowest_ms, dtype="<f8")
    return Rollup(outcomes, counted, slowest, decode(batch_sizes), decode(classes))
