"""The errors of the domain, without status codes: each edge (HTTP, command line) translates them once.

A message names what was given, what is allowed and what to do.
"""

from collections.abc import Mapping
from typing import ClassVar


class LightboxError(Exception):
    """An expected error with an explanation.

    `code` is stable and part of the HTTP contract. `details` has machine-readable facts (a limit, the valid names).
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = details


class InvalidParameterError(LightboxError):
    """A request parameter is not allowed."""

    code = "invalid_parameter"


class MissingImageError(LightboxError):
    """A request carries no image, or an empty one."""

    code = "missing_image"


class UnknownModelError(LightboxError):
    """A request names a model that is not served."""

    code = "unknown_model"


class UnknownVersionError(LightboxError):
    """A model has no such version, or not here."""

    code = "unknown_version"


class AmbiguousVersionError(LightboxError):
    """Several versions of a model begin with these characters."""

    code = "ambiguous_version"


class VersionInUseError(LightboxError):
    """A version is the champion, and so cannot be unloaded, a canary or a shadow."""

    code = "version_in_use"


class NoFormerChampionError(LightboxError):
    """A model has had one champion only."""

    code = "no_former_champion"


class LabelsDifferError(LightboxError):
    """A canary or a shadow has other labels than the champion."""

    code = "labels_differ"


class ModelControlFixedError(LightboxError):
    """The settings fix what is served: LIGHTBOX_MODEL_CONTROL is `fixed`."""

    code = "model_control_fixed"


class ForeignRequestError(LightboxError):
    """A page of another site, or a caller from another machine, may not change what this service serves."""

    code = "foreign_request"


class ImageTooLargeError(LightboxError):
    """An image or its request has more bytes than allowed."""

    code = "image_too_large"


class TooManyPixelsError(LightboxError):
    """An image's header declares more pixels than allowed; nothing was decoded."""

    code = "too_many_pixels"


class TooManyImagesError(LightboxError):
    """A batch request carries more images than allowed."""

    code = "too_many_images"


class UnsupportedFormatError(LightboxError):
    """The bytes are of no supported image format, whatever their declared type."""

    code = "unsupported_format"


class UndecodableImageError(LightboxError):
    """The bytes begin like an image but are truncated or corrupt."""

    code = "undecodable_image"


class ReceiveTimeoutError(LightboxError):
    """The client took longer than allowed to send its request."""

    code = "receive_timeout"


class ClientGoneError(LightboxError):
    """The client disconnected before its answer. Only the receipt has this outcome."""

    code = "cancelled"


class DeadlineExceededError(LightboxError):
    """The request's deadline passed before its answer was ready."""

    code = "deadline_exceeded"


class InferenceFailedError(LightboxError):
    """The engine failed on this one image."""

    code = "inference_failed"


class RetryableError(LightboxError):
    """An error that a retry may avoid, after `retry_after_s` as predicted."""

    def __init__(self, message: str, *, retry_after_s: float, **details: object) -> None:
        super().__init__(message, **details)
        self.retry_after_s = retry_after_s


class OverloadedError(RetryableError):
    """The queue is full, or the predicted wait exceeds 70 % of the latency target or the deadline."""

    code = "overloaded"


class NotReadyError(RetryableError):
    """The models are still loading or warming up."""

    code = "not_ready"


class DrainingError(RetryableError):
    """The process is shutting down: it finishes admitted requests and admits no more."""

    code = "draining"


class JournalUnavailableError(RetryableError):
    """The journal's database cannot be read or written now; classification goes on.

    `message` is safe for clients. `str` names the database and its driver's error, for the log only.
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
    """A newer Lightbox wrote the journal, in a schema that this version does not know.

    It ends a start. A running process treats it as an unavailable database, and keeps its rows for later.
    """


class OutOfMemoryError(LightboxError):
    """An engine had too little memory for a batch of this size."""

    code = "inference_failed"


class ModelLoadError(LightboxError):
    """A model cannot be loaded: unknown name, no network for its weights, or damaged files. For the operator."""

    code = "model_unavailable"


class MissingFactsError(ModelLoadError):
    """An import lacks facts that only a person can state, such as labels. For the operator."""


class WrongFactsError(ModelLoadError):
    """What was stated or found of a model cannot be, or contradicts its graph or its labels. For the operator."""


class EngineUnavailableError(LightboxError):
    """The engine or device of the settings is not available on this machine. For the operator."""

    code = "engine_unavailable"


class JournalUrlError(LightboxError):
    """The journal's URL is invalid. For the operator; the message never has a password."""

    code = "invalid_journal_url"


class CacheUrlError(LightboxError):
    """The cache's URL is invalid. For the operator; the message never has a password."""

    code = "invalid_cache_url"
