"""What can go wrong, in the words of the domain.

Each edge (HTTP, command line, dashboard) translates these once; none of them knows a status code. A message names what
was given, what is allowed and what to do.
"""

from collections.abc import Mapping
from typing import ClassVar


class LightboxError(Exception):
    """An error that Lightbox expects and can explain.

    `code` is stable and part of the HTTP contract. `details` carries machine-readable facts (a limit, the names that
    exist) beside the sentence.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = details


class InvalidParameterError(LightboxError):
    """A request parameter is outside what it may be."""

    code = "invalid_parameter"


class MissingImageError(LightboxError):
    """A request carries no image, or an empty one."""

    code = "missing_image"


class UnknownModelError(LightboxError):
    """A request names a model that is not served."""

    code = "unknown_model"


class ImageTooLargeError(LightboxError):
    """An image, or the request around it, has more bytes than allowed."""

    code = "image_too_large"


class TooManyPixelsError(LightboxError):
    """An image's header declares more pixels than allowed; nothing was decoded."""

    code = "too_many_pixels"


class TooManyImagesError(LightboxError):
    """A batch request carries more images than allowed."""

    code = "too_many_images"


class UnsupportedFormatError(LightboxError):
    """The bytes are none of the image formats that Lightbox reads, whatever their declared type."""

    code = "unsupported_format"


class UndecodableImageError(LightboxError):
    """The bytes begin like an image but are truncated or corrupt."""

    code = "undecodable_image"


class ReceiveTimeoutError(LightboxError):
    """The client took longer than allowed to send its request."""

    code = "receive_timeout"


class ClientGoneError(LightboxError):
    """The client hung up before its answer; nobody is told, but the receipt says so."""

    code = "cancelled"


class DeadlineExceededError(LightboxError):
    """The request's deadline passed before its answer was ready."""

    code = "deadline_exceeded"


class InferenceFailedError(LightboxError):
    """The engine failed on this one image."""

    code = "inference_failed"


class RetryableError(LightboxError):
    """A refusal that a later try may not meet.

    `retry_after_s` is the predicted time until then, in seconds.
    """

    def __init__(self, message: str, *, retry_after_s: float, **details: object) -> None:
        super().__init__(message, **details)
        self.retry_after_s = retry_after_s


class OverloadedError(RetryableError):
    """There is no place left, or the predicted wait exceeds seven tenths of the latency target or the deadline."""

    code = "overloaded"


class NotReadyError(RetryableError):
    """The models are still loading or warming up."""

    code = "not_ready"


class DrainingError(RetryableError):
    """The process is shutting down: it finishes what is admitted and admits nothing more."""

    code = "draining"


class JournalUnavailableError(RetryableError):
    """The journal's database cannot be read or written now; images are classified all the same.

    `message` may go to any client. What `str` gives names the database and what its driver said: for the log alone.
    """

    code = "journal_unavailable"

    def __init__(self, diagnosis: str, *, retry_after_s: float) -> None:
        super().__init__(
            "The journal's database cannot be used now; the server's log has the cause. Try again after the time in "
            "Retry-After.",
            retry_after_s=retry_after_s,
        )
        self._diagnosis = diagnosis

    def __str__(self) -> str:
        return self._diagnosis


class JournalTooNewError(JournalUnavailableError):
    """A newer Lightbox wrote the journal, in a schema that this one does not know.

    A start ends with it. A process that runs already does as without its database: what it cannot write waits.
    """


class OutOfMemoryError(LightboxError):
    """An engine had too little memory for a batch of this size."""

    code = "inference_failed"


class ModelLoadError(LightboxError):
    """A model cannot be had: no such name, no network for its weights, or damaged files. Raised to the operator."""

    code = "model_unavailable"


class EngineUnavailableError(LightboxError):
    """The engine or device of the settings cannot be had on this machine. Raised to the operator."""

    code = "engine_unavailable"


class JournalUrlError(LightboxError):
    """The journal's URL is none that Lightbox can use. Raised to the operator; the message never holds a password."""

    code = "invalid_journal_url"


class CacheUrlError(LightboxError):
    """The cache's URL is none that Lightbox can use. Raised to the operator; the message never holds a password."""

    code = "invalid_cache_url"
