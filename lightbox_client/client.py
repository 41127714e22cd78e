"""The HTTP API as Python calls."""

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from http import HTTPStatus
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

import requests

from lightbox_client.contract import (
    BatchClassification,
    Classification,
    History,
    HistoryRequests,
    Labels,
    ModelCard,
    ModelList,
    Priority,
    Status,
    Version,
)
from lightbox_client.errors import ServiceTimeoutError, ServiceUnreachableError
from lightbox_client.explain import ExplainCalls
from lightbox_client.payload import ImageSource, is_one_image, read_payload
from lightbox_client.preview import Preview, read_preview
from lightbox_client.registry import RegistryCalls
from lightbox_client.transport import Query, Transport, read

DEFAULT_URL = "http://127.0.0.1:3000"


class Client(ExplainCalls, RegistryCalls):
    """A Lightbox service at one address; a context manager.

    One client may be shared by several threads: calls share a connection pool and nothing else. `close` it once, when
    no call is running. Calls answer with the models of `lightbox_client.contract` and fail with the errors of
    `lightbox_client.errors`, each a `LightboxClientError`.

    Args:
        base_url: The service's address.
        connect_timeout_s: Longest wait for a connection.
        read_timeout_s: Longest silence of the service while it answers.
        max_retries: Further tries after a 429 or a 503 that carries `Retry-After`; nothing else is retried.
        max_retry_wait_s: Longest wait for retries in one call; where the service asks for more, the call fails at once.
        session: A session of the caller's, with its own proxies or authentication; it is left open.
        sleep: Waits between tries; a test may pass one that returns at once.

    Raises:
        InvalidAddressError: `base_url` is no http or https URL.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        connect_timeout_s: float = 3.0,
        read_timeout_s: float = 60.0,
        max_retries: int = 3,
        max_retry_wait_s: float = 30.0,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sleep = sleep
        self._transport = Transport(
            base_url,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            max_retries=max_retries,
            max_retry_wait_s=max_retry_wait_s,
            session=session,
            sleep=sleep,
        )

    @property
    def base_url(self) -> str:
        """The service's address, without a slash at its end."""
        return self._transport.base_url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, unless the session is the caller's."""
        self._transport.close()

    def classify(
        self,
        image: ImageSource,
        *,
        model: str | None = None,
        top_k: int = 5,
        deadline_ms: float | None = None,
        priority: Priority | None = None,
    ) -> Classification:
        """Classify one image.

        Args:
            image: Encoded bytes, a path, a file open for reading in binary, or pixels: a numpy array of uint8, RGB with
                the shape (height, width, 3) or grey with (height, width), or a Pillow image. Pixels are sent as PNG.
            model: A served model's name; the service's default if None.
            top_k: Predictions wanted, at least 1; all classes of a model that has fewer.
            deadline_ms: Longest time in the service; an image that takes longer gets no answer.
            priority: `bulk` lets images go first that a person waits for.

        Raises:
            UnreadableImageFileError: The file cannot be read from here.
            TypeError: `image` is none of these.
            ValueError: It is an array or a Pillow image of another kind.
            InvalidImageError: The service cannot read the image.
            LightboxClientError: Any other of the client's errors.
        """
        payload = read_payload(image)
        query: Query = {"model": model, "top_k": top_k, "deadline_ms": deadline_ms}
        response = self._transport.post(
            "/v1/classify", query, body=payload.encoded, media_type=payload.media_type, priority=priority
        )
        return read(response, Classification)

    def classify_batch(
        self,
        images: Iterable[ImageSource],
        *,
        model: str | None = None,
        top_k: int = 5,
        priority: Priority | None = None,
    ) -> BatchClassification:
        """Classify several images in one request; one that fails has its `error` in its place.

        `priority` is that of `classify`, for all of them.

        Raises:
            UnreadableImageFileError: A file cannot be read from here; nothing was sent.
            TypeError: `images` is a single image, or an image is none that `classify` takes; nothing was sent.
            ValueError: As for `classify`; nothing was sent.
            InvalidRequestError: More images than the service takes at once, or a parameter is wrong.
            LightboxClientError: Any other of the client's errors.
        """
        if is_one_image(images):
            raise TypeError(f"classify_batch takes several images, such as a list; this is {type(images).__name__}.")
        payloads = [read_payload(image, unnamed=f"image-{index}") for index, image in enumerate(images)]
        files = [("images", (payload.filename, payload.encoded, payload.media_type)) for payload in payloads]
        response = self._transport.post(
            "/v1/classify/batch", {"model": model, "top_k": top_k}, files=files, priority=priority
        )
        return read(response, BatchClassification)

    def preview(self, image: ImageSource) -> Preview:
        """Return the image as the models see it: the first frame, upright, over white, with 8 bits a channel.

        Raises:
            UnreadableImageFileError: The file cannot be read from here.
            InvalidImageError: The service cannot read the image.
            LightboxClientError: Any other of the client's errors.
        """
        payload = read_payload(image)
        response = self._transport.post("/v1/preview", {}, body=payload.encoded, media_type=payload.media_type)
        return read_preview(response)

    def models(self) -> ModelList:
        """Return the cards of the served models."""
        return read(self._transport.get("/v1/models"), ModelList)

    def model(self, name: str) -> ModelCard:
        """Return one model's card; raises `UnknownModelError` where it is not served."""
        return read(self._transport.get(f"/v1/models/{quote(name)}"), ModelCard)

    def labels(self, name: str) -> Labels:
        """Return a model's labels; raises `UnknownModelError` where it is not served."""
        return read(self._transport.get(f"/v1/models/{quote(name)}/labels"), Labels)

    def history(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        buckets: int = 60,
        model: str | None = None,
    ) -> History:
        """Return aggregates over `[since, until)` in `buckets` intervals of equal length, of all clients.

        Times need a time zone. `until` is now if None, `since` an hour before it; a model of None means every model.
        """
        query = {"since": _wire_time(since), "until": _wire_time(until), "buckets": buckets, "model": model}
        return read(self._transport.get("/v1/history", query), History)

    def history_requests(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        order: Literal["slowest", "newest"] = "newest",
        limit: int = 20,
        model: str | None = None,
        model_version: str | None = None,
        outcome: str | None = None,
        request_id: str | None = None,
        offset: int = 0,
    ) -> HistoryRequests:
        """Return single receipts of `[since, until)`, at most `limit` after the first `offset`.

        `model_version` keeps those of one version, given whole; `outcome` those that are `ok` or have that error code;
        `request_id` those with exactly that id, whenever they were received unless `since` is given.
        """
        query = {
            "since": _wire_time(since),
            "until": _wire_time(until),
            "order": order,
            "limit": limit,
            "model": model,
            "model_version": model_version,
            "outcome": outcome,
            "request_id": request_id,
            "offset": offset or None,
        }
        return read(self._transport.get("/v1/history/requests", query), HistoryRequests)

    def status(self) -> Status:
        """Return the state of the worker that answers."""
        return read(self._transport.get("/v1/status"), Status)

    def version(self) -> Version:
        """Return the versions of Lightbox, its libraries and its models."""
        return read(self._transport.get("/version"), Version)

    def is_ready(self) -> bool:
        """Ask `/readyz` once: False while the service loads, drains, is out of reach or does not answer in time."""
        try:
            return self._transport.probe("/readyz") == HTTPStatus.OK
        except (ServiceUnreachableError, ServiceTimeoutError):
            return False


def _wire_time(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; say datetime.now(UTC) or give a tzinfo")
    return moment.isoformat()
