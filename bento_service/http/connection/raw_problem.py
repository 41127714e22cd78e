"""A problem as the bytes of an HTTP response, for requests that are answered without the application."""

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from bento_service.http.requests.headers import REQUEST_ID_HEADER
from bento_service.http.responses.problems import MEDIA_TYPE
from lightbox_client.contract import Problem

_HEADERS = f"content-type: {MEDIA_TYPE}\r\n{REQUEST_ID_HEADER.lower()}: %b\r\ncontent-length: %d\r\n".encode()


class RawProblem:
    """A problem that is rendered once and can be sent with several request ids."""

    def __init__(self, problem: Problem) -> None:
        """Take a problem whose request id occurs nowhere else in it."""
        body = problem.model_dump_json(fallback=str).encode()
        self._before, _, self._after = body.partition(problem.request_id.encode())
        self.status = problem.status
        retry_after_s = (problem.model_extra or {}).get("retry_after_s")
        self._retry_after = b"" if retry_after_s is None else f"retry-after: {retry_after_s}\r\n".encode()

    def render(self, request_id: str, default_headers: Iterable[tuple[bytes, bytes]] = (), *, is_last: bool) -> bytes:
        """Return the answer to one request; `is_last` if the connection ends with it."""
        encoded_id = request_id.encode()
        body = b"%b%b%b" % (self._before, encoded_id, self._after)
        defaults = b"".join([b"%b: %b\r\n" % header for header in default_headers])
        headers = _HEADERS % (encoded_id, len(body))
        end = b"connection: close\r\n\r\n" if is_last else b"\r\n"
        return b"".join((STATUS_LINE[self.status], defaults, headers, self._retry_after, end, body))
