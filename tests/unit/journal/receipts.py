"""Receipts for tests of the journal."""

import random
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from bento_service.domain.requests import ImageInfo, Prediction, Receipt, Timings

NOW = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)

_OUTCOMES = ("ok", "ok", "ok", "ok", "overloaded", "undecodable_image")
_LABELS = ("Egyptian cat", "tabby", "Blässhuhn", "猫")


class Window(TypedDict):
    """The window of a query."""

    since: datetime
    until: datetime


def make_receipt(
    request_id: str = "r-1",
    *,
    received_at: datetime = NOW,
    model: str = "lite0",
    outcome: str = "ok",
    total_ms: float = 10.0,
    batch_size: int = 1,
    cached: bool = False,
    class_id: int = 285,
    label: str = "Egyptian cat",
    digest: str = "ab" * 32,
) -> Receipt:
    is_ok = outcome == "ok"
    return Receipt(
        request_id=request_id,
        received_at=received_at,
        model=model,
        model_version="v1",
        outcome=outcome,
        timings=Timings(receive_ms=0.4, decode_ms=1.3, queue_ms=0.0, inference_ms=total_ms / 2, total_ms=total_ms),
        top=(Prediction(class_id, label, 0.5),) if is_ok else (),
        batch_size=batch_size if is_ok else 0,
        dispatch="lane_free" if is_ok else "",
        image=ImageInfo("JPEG", 451, 300),
        digest=digest,
        cached=cached,
    )


def make_traffic(seed: int, count: int, *, since: datetime, span: timedelta) -> list[Receipt]:
    """Return random receipts of `[since, since + span)`: three models, errors, cached answers, classes that tie."""
    rng = random.Random(seed)  # noqa: S311 - made-up traffic, no secret
    return [
        make_receipt(
            f"r-{seed}-{number}",
            received_at=since + span * rng.random(),
            model=rng.choice(("lite0", "lite1", "")),
            outcome=rng.choice(_OUTCOMES),
            total_ms=rng.lognormvariate(3, 1),
            batch_size=rng.choice((1, 2, 4, 32)),
            cached=rng.random() < 0.1,
            class_id=rng.randrange(15),
            label=rng.choice(_LABELS),
        )
        for number in range(count)
    ]
