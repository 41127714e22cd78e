"""The calls that ask why a model answers as it does."""

import requests

from lightbox_client.contract import Explanation, MethodChoice, Priority
from lightbox_client.payload import ImageSource, read_payload
from lightbox_client.transport import Query, Transport, read, unexpected

_PICTURE_TYPE = "image/png"


class ExplainCalls:
    """Calls of `Client` that explain answers."""

    _transport: Transport

    def explain(
        self,
        image: ImageSource,
        *,
        model: str | None = None,
        class_id: int | None = None,
        method: MethodChoice = "auto",
        deadline_ms: float | None = None,
        priority: Priority | None = None,
    ) -> Explanation:
        """Return where in an image the model sees a class.

        `image`, `model`, `deadline_ms` and `priority` are those of `classify`.

        Args:
            image: The image.
            model: A served model's name; the service's default if None.
            class_id: The class to explain; the best one if None.
            method: `cam`, `occlusion`, or `auto` for the better one of those that the model has.
            deadline_ms: Longest time in the service.
            priority: `bulk` lets images go first that a person waits for; `occlusion` always does.

        Raises:
            UnreadableImageFileError: The file cannot be read from here.
            TypeError: `image` is none that `classify` takes.
            ValueError: As for `classify`.
            InvalidImageError: The service cannot read the image.
            InvalidRequestError: The model has no such class, or cannot be explained by `method`.
            LightboxClientError: Any other of the client's errors.
        """
        query: Query = {"model": model, "class_id": class_id, "method": method, "deadline_ms": deadline_ms}
        return read(self._post_explain(image, query, priority, "application/json"), Explanation)

    def explain_as_png(
        self,
        image: ImageSource,
        *,
        model: str | None = None,
        class_id: int | None = None,
        method: MethodChoice = "auto",
        opacity: float = 0.5,
        deadline_ms: float | None = None,
        priority: Priority | None = None,
    ) -> bytes:
        """Return a PNG of the upright image, at most 1024 px a side, with the map of `explain` over it.

        `opacity` is that of the map, 0 to 1. Raises as `explain`.
        """
        query: Query = {
            "model": model,
            "class_id": class_id,
            "method": method,
            "opacity": opacity,
            "deadline_ms": deadline_ms,
        }
        response = self._post_explain(image, query, priority, _PICTURE_TYPE)
        if response.headers.get("Content-Type") != _PICTURE_TYPE:
            raise unexpected(response, "which is no picture")
        return response.content

    def _post_explain(
        self, image: ImageSource, query: Query, priority: Priority | None, accept: str
    ) -> requests.Response:
        payload = read_payload(image)
        return self._transport.post(
            "/v1/explain",
            query,
            body=payload.encoded,
            media_type=payload.media_type,
            priority=priority,
            accept=accept,
        )
