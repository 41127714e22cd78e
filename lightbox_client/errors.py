"""The errors of the client; every one is a `LightboxClientError`."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lightbox_client.contract import Problem


class LightboxClientError(Exception):
    """Base of all errors; the message is one sentence to show to a person."""


class InvalidAddressError(LightboxClientError, ValueError):
    """The service's address is no `http://` or `https://` URL."""


class UnreadableImageFileError(LightboxClientError):
    """An image file cannot be read; `reason` is the system's message, such as `No such file or directory`."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot read {path}: {reason}")
        self.path = path
        self.reason = reason


class ServiceUnreachableError(LightboxClientError):
    """Nothing answers at the address, or the connection broke before an answer came."""


class ServiceTimeoutError(LightboxClientError):
    """The service took the request and did not answer in time. It may still be working on it."""


class UnexpectedAnswerError(LightboxClientError):
    """The answer is not one of Lightbox's: a proxy's page, another program, or an incompatible version.

    `status` is its HTTP status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class ProblemError(LightboxClientError):
    """The service answered with an error.

    `code` is stable, for programs to branch on; further members, such as a limit, are in `problem.model_extra`.
    `retry_after_s` is the wait that the service asked for, if any.
    """

    def __init__(self, problem: Problem, *, retry_after_s: float | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.status = problem.status
        self.code = problem.code
        self.detail = problem.detail
        self.request_id = problem.request_id
        self.retry_after_s = retry_after_s


class InvalidRequestError(ProblemError):
    """A parameter is wrong; the same call will never succeed."""


class InvalidImageError(ProblemError):
    """The image cannot be classified: empty, too large, of no known format, or corrupt. Others can."""


class UnknownModelError(ProblemError):
    """The model is not served; the message names those that are."""


class OverloadedError(ProblemError):
    """Rejected for overload; a later try may succeed."""


class NotReadyError(ProblemError):
    """The models are loading, or the service is shutting down; a later try may succeed."""


class DeadlineExceededError(ProblemError):
    """The deadline passed before the answer was ready."""


_ERROR_BY_CODE: Mapping[str, type[ProblemError]] = MappingProxyType(
    {
        "invalid_parameter": InvalidRequestError,
        "too_many_images": InvalidRequestError,
        "missing_image": InvalidImageError,
        "image_too_large": InvalidImageError,
        "too_many_pixels": InvalidImageError,
        "unsupported_format": InvalidImageError,
        "undecodable_image": InvalidImageError,
        "unknown_model": UnknownModelError,
        "unknown_version": UnknownModelError,
        "ambiguous_version": InvalidRequestError,
        "version_in_use": InvalidRequestError,
        "no_former_champion": InvalidRequestError,
        "labels_differ": InvalidRequestError,
        "overloaded": OverloadedError,
        "not_ready": NotReadyError,
        "draining": NotReadyError,
        "deadline_exceeded": DeadlineExceededError,
    }
)


def error_from_problem(problem: Problem, *, retry_after_s: float | None = None) -> ProblemError:
    """Return the error that fits a problem's code; `ProblemError` itself for codes that this client does not know."""
    return _ERROR_BY_CODE.get(problem.code, ProblemError)(problem, retry_after_s=retry_after_s)
