"""Domain values as messages of the wire contract."""

from starlette.responses import Response

from bento_service.domain.explanations import Explanation
from bento_service.domain.history import History, HistoryBucket, Quantiles
from bento_service.domain.models import ModelCard
from bento_service.domain.requests import OUTCOME_OK, Answer, ImageInfo, Prediction, Receipt, Timings
from bento_service.domain.service import ServedModel, ServiceStatus
from bento_service.errors import ClientGoneError, OverloadedError
from bento_service.http.responses.problems import is_client_error
from lightbox_client import contract

_NO_ERRORS = (OUTCOME_OK, OverloadedError.code, ClientGoneError.code)


class JsonResponse(Response):
    """A message of the contract as JSON; it is not validated again."""

    media_type = "application/json"

    def __init__(self, message: contract.WireModel) -> None:
        super().__init__(message.model_dump_json())


def to_classification(answer: Answer) -> contract.Classification:
    """Return the answer to one image."""
    receipt = answer.receipt
    return contract.Classification(
        request_id=receipt.request_id,
        model=contract.ModelRef(name=receipt.model, version=receipt.model_version),
        predictions=_to_predictions(answer.predictions),
        image=_to_image(answer.image),
        warnings=list(answer.warnings),
        cached=receipt.cached,
        batch_size=receipt.batch_size,
        dispatch=receipt.dispatch,
        timings_ms=_to_timings(receipt.timings),
        score_kind=receipt.score_kind,
    )


def to_explanation(explanation: Explanation) -> contract.Explanation:
    """Return what speaks for a class of one image."""
    answer, explained, box = explanation.answer, explanation.explained, explanation.box
    return contract.Explanation(
        request_id=answer.receipt.request_id,
        model=contract.ModelRef(name=answer.receipt.model, version=answer.receipt.model_version),
        method=explanation.method.value,
        is_exact=explanation.is_exact,
        class_id=explained.class_id,
        label=explained.label,
        score=explained.score,
        score_kind=answer.receipt.score_kind,
        grid=explanation.grid.tolist(),
        bias=explanation.bias,
        box=contract.Box(left=box.left_px, top=box.top_px, width=box.width_px, height=box.height_px),
        image=_to_image(answer.image),
        warnings=list(answer.warnings),
        timings_ms=_to_timings(answer.receipt.timings),
    )


def to_model_card(served: ServedModel) -> contract.ModelCard:
    """Return a served model's card."""
    card = served.card
    parity = card.parity and contract.Parity.model_validate(card.parity, from_attributes=True)
    return contract.ModelCard(
        name=card.name,
        version=card.version,
        is_default=served.is_default,
        labels_count=len(card.labels),
        input_size=contract.InputSize(width=card.recipe.width_px, height=card.recipe.height_px),
        crop_fraction=card.recipe.crop_fraction if card.recipe.fit == "crop" else None,
        fit=card.recipe.fit,
        pad_value=card.recipe.pad_value,
        interpolation=card.recipe.interpolation,
        is_antialiased=card.recipe.is_antialiased,
        channels=card.recipe.channels,
        score_kind=card.score_kind,
        max_batch=card.max_batch,
        found_in=dict(card.found_in),
        source=card.source,
        licence=card.licence,
        engine=served.engine,
        precision=served.precision,
        device=contract.DeviceInfo.model_validate(served.device, from_attributes=True),
        state="ready",  # a worker lists its models once all of them are warm
        parity=parity,
    )


def to_labels(card: ModelCard) -> contract.Labels:
    """Return a model's labels."""
    return contract.Labels(model=contract.ModelRef(name=card.name, version=card.version), labels=list(card.labels))


def to_history(history: History, model: str | None) -> contract.History:
    """Return a window's aggregates; `model` is the filter they were read with."""
    return contract.History(
        since=history.since,
        until=history.until,
        model=model,
        bucket_s=history.bucket_s,
        buckets=[_to_bucket(bucket) for bucket in history.buckets],
        total=_to_bucket(history.total),
    )


def to_history_request(receipt: Receipt) -> contract.HistoryRequest:
    """Return a receipt out of the journal."""
    return contract.HistoryRequest(
        request_id=receipt.request_id,
        received_at=receipt.received_at,
        model=receipt.model,
        model_version=receipt.model_version,
        outcome=receipt.outcome,
        predictions=_to_predictions(receipt.top),
        image=receipt.image and _to_image(receipt.image),
        digest=receipt.digest,
        warnings=list(receipt.warnings),
        cached=receipt.cached,
        batch_size=receipt.batch_size,
        dispatch=receipt.dispatch,
        timings_ms=_to_timings(receipt.timings),
        score_kind=receipt.score_kind,
    )


def to_status(status: ServiceStatus) -> contract.Status:
    """Return how the worker is doing."""
    return contract.Status.model_validate(status, from_attributes=True)


def _to_predictions(predictions: tuple[Prediction, ...]) -> list[contract.Prediction]:
    return [contract.Prediction(class_id=one.class_id, label=one.label, score=one.score) for one in predictions]


def _to_image(image: ImageInfo) -> contract.ImageInfo:
    return contract.ImageInfo(format=image.format, width=image.width_px, height=image.height_px)


def _to_timings(timings: Timings) -> contract.TimingsMs:
    # To a microsecond: the clock is no more exact.
    return contract.TimingsMs(
        receive=round(timings.receive_ms, 3),
        decode=round(timings.decode_ms, 3),
        queue=round(timings.queue_ms, 3),
        inference=round(timings.inference_ms, 3),
        total=round(timings.total_ms, 3),
    )


def _to_bucket(bucket: HistoryBucket) -> contract.HistoryBucket:
    # Rejections and clients that disconnected are no errors. An unknown code, of another version, is a failure.
    errors = {code: count for code, count in bucket.outcomes.items() if code not in _NO_ERRORS}
    client_errors = sum(count for code, count in errors.items() if is_client_error(code))
    failures = sum(errors.values()) - client_errors
    stages = {name: _to_quantiles(quantiles) for name, quantiles in bucket.stages.items()}
    return contract.HistoryBucket(
        start=bucket.start,
        count=sum(bucket.outcomes.values()),
        errors=client_errors + failures,
        client_errors=client_errors,
        failures=failures,
        shed=bucket.outcomes.get(OverloadedError.code, 0),
        outcomes=dict(bucket.outcomes),
        cached=bucket.cached,
        total_ms=stages.pop("total", contract.QuantilesMs()),
        cached_ms=_to_quantiles(bucket.cached_total),
        stages_ms=stages,
        batch_sizes=dict(bucket.batch_sizes),
        top_classes=[
            contract.ClassCount(class_id=class_id, label=label, count=count)
            for class_id, label, count in bucket.top_classes
        ],
    )


def _to_quantiles(quantiles: Quantiles) -> contract.QuantilesMs:
    return contract.QuantilesMs.model_validate(quantiles, from_attributes=True)
