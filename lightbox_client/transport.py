"""One HTTP exchange with the service: time limits, retries, and every failure as a typed error."""

import email.utils
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ValidationError
from requests.utils import select_proxy
from urllib3.exceptions import LocationParseError

from lightbox_client.contract import Problem
from lightbox_client.errors import (
    InvalidAddressError,
    ServiceTimeoutError,
    ServiceUnreachableError,
    UnexpectedAnswerError,
    error_from_problem,
)
from lightbox_client.proxies import describe_target, is_loopback, without_credentials

RETRIED_STATUSES = frozenset({429, 503})
EXCERPT_CHARS = 120

Query = Mapping[str, str | int | float | None]
Message = TypeVar("Message", bound=BaseModel)
FormFiles = Sequence[tuple[str, tuple[str, bytes, str]]]


class Transport:
    """Sends requests to one address.

    Safe to use from several threads: nothing is kept between requests but the connection pool, cookies are refused.
    Proxies of the environment are used, but never for this machine; errors name them.

    Args:
        base_url: The service's address, with a path where a proxy serves it under one.
        connect_timeout_s: Longest wait for a connection.
        read_timeout_s: Longest silence of the service while it answers.
        max_retries: Further tries after a 429 or a 503 that carries `Retry-After`. Nothing else is retried.
        max_retry_wait_s: Longest wait, over all retries of a call. Where the service asks for more, the call fails at
            once: an earlier try would only add to the load.
        session: The caller's session; it is not closed.
        sleep: Waits between tries, in seconds.

    Raises:
        InvalidAddressError: `base_url` is no http or https URL.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        max_retries: int,
        max_retry_wait_s: float,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = _checked_address(base_url)
        # To requests, this is what NO_PROXY is in the environment; proxies of the caller's session stay in use.
        self._proxies = {"no_proxy": urlsplit(base_url).hostname or ""} if is_loopback(base_url) else {}
        self._timeout_s = (connect_timeout_s, read_timeout_s)
        self._max_retries = max_retries
        self._max_retry_wait_s = max_retry_wait_s
        self._sleep = sleep
        self._owns_session = session is None
        self._session = session or _new_session()

    def get(self, path: str, query: Query | None = None) -> requests.Response:
        """Read; returns a 2xx answer or raises as `post` does."""
        return self._request("GET", path, query)

    def post(
        self,
        path: str,
        query: Query,
        *,
        body: bytes | None = None,
        media_type: str | None = None,
        files: FormFiles | None = None,
        priority: str | None = None,
        accept: str | None = None,
    ) -> requests.Response:
        """Send a raw body or form files; `priority` goes into the header `X-Priority`, `accept` into `Accept`.

        Raises:
            ServiceUnreachableError: No connection, or it broke.
            ServiceTimeoutError: No answer in time.
            ProblemError: The service refused.
            UnexpectedAnswerError: The answer is not Lightbox's.
        """
        headers = {"Content-Type": media_type} if media_type else {}
        if priority is not None:
            headers["X-Priority"] = priority
        if accept is not None:
            headers["Accept"] = accept
        return self._request("POST", path, query, data=body, files=files, headers=headers)

    def probe(self, path: str) -> int:
        """Read once, without retries, and return the status whatever it is."""
        return self._exchange("GET", path, None).status_code

    def close(self) -> None:
        """Close the connections, unless the session is the caller's."""
        if self._owns_session:
            self._session.close()

    def _request(self, method: str, path: str, query: Query | None, **parts: object) -> requests.Response:
        waited_s = 0.0
        for tries_left in range(self._max_retries, -1, -1):
            response = self._exchange(method, path, query, **parts)
            if response.ok and not response.is_redirect:
                return response
            retry_after_s = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            is_worth_a_retry = response.status_code in RETRIED_STATUSES and tries_left > 0
            if not is_worth_a_retry or retry_after_s is None or waited_s + retry_after_s > self._max_retry_wait_s:
                break
            self._sleep(retry_after_s)
            waited_s += retry_after_s
        raise _error_from(response, retry_after_s)

    def _exchange(self, method: str, path: str, query: Query | None, **parts: object) -> requests.Response:
        url = self.base_url + path
        try:
            # A followed redirect would turn a POST into a GET, so its target is reported instead.
            return self._session.request(
                method,
                url,
                params=query,
                timeout=self._timeout_s,
                allow_redirects=False,
                proxies=dict(self._proxies),
                **parts,  # type: ignore[arg-type]
            )
        except (requests.RequestException, LocationParseError) as error:
            raise self._describe(error) from error

    def _describe(self, error: Exception) -> ServiceUnreachableError | ServiceTimeoutError:
        """Return the client's error for a failed exchange."""
        proxy = self._used_proxy()
        target, advice = without_credentials(self.base_url), "is the service running there?"
        if proxy is not None:
            target += f" through the proxy {without_credentials(proxy)}"
            advice = f"check the proxy, or name {urlsplit(self.base_url).hostname} in NO_PROXY"
        if isinstance(error, requests.ConnectTimeout):
            return ServiceUnreachableError(f"no connection to {target} within {self._timeout_s[0]:g} s; {advice}")
        if isinstance(error, requests.Timeout):
            return ServiceTimeoutError(f"{target} took the request but did not answer within {self._timeout_s[1]:g} s")
        if isinstance(error, requests.ConnectionError):
            return ServiceUnreachableError(f"cannot reach {target} ({_root_cause(error)}); {advice}")
        # The libraries' own words may repeat the proxy's URL, and with it a password.
        reason = "the proxy's URL cannot be used" if proxy is not None and "@" in proxy else str(error)
        return ServiceUnreachableError(f"the exchange with {target} failed: {reason}")

    def _used_proxy(self) -> str | None:
        """Return the URL of the proxy that requests go through, of the environment or of the caller's session."""
        settings = self._session.merge_environment_settings(self.base_url, dict(self._proxies), None, None, None)
        return select_proxy(self.base_url, settings["proxies"])


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header (RFC 9110, 10.2.3), a number of seconds or a date, as seconds from `now`; else None."""
    if value is None:
        return None
    if (seconds := value.strip()).isdecimal():
        return float(seconds)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(value) - now).total_seconds())
    except (TypeError, ValueError):
        return None


def read(response: requests.Response, kind: type[Message]) -> Message:
    """Return an answer as a message of the contract; raises `UnexpectedAnswerError` where it is none."""
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        raise unexpected(response, f"which is no {kind.__name__} of Lightbox") from error


def unexpected(response: requests.Response, why: str) -> UnexpectedAnswerError:
    """Describe an answer that is not Lightbox's, with its beginning."""
    media_type = response.headers.get("Content-Type", "no content type")
    target = f", pointing to {response.headers['Location']}" if response.is_redirect else ""
    excerpt = " ".join(response.text[:EXCERPT_CHARS].split())
    answered = f"{describe_target(response.url)} answered {response.status_code} ({media_type}){target}"
    message = f"{answered}, {why}: {excerpt!r}"
    return UnexpectedAnswerError(message, status=response.status_code)


def _error_from(response: requests.Response, retry_after_s: float | None) -> Exception:
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return unexpected(response, "which is no answer of Lightbox")
    return error_from_problem(problem, retry_after_s=retry_after_s)


def _checked_address(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:  # an unfinished IPv6 address
        is_address = False
    if not is_address:
        shown = without_credentials(base_url)
        raise InvalidAddressError(f"{shown!r} is no address of a service; it looks like http://127.0.0.1:3000")
    return base_url.rstrip("/")


def _new_session() -> requests.Session:
    session = requests.Session()
    session.headers["User-Agent"] = "lightbox-client"
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # the one thing that threads would share
    return session


def _root_cause(error: BaseException) -> str:
    """Return the operating system's message, such as `Connection refused`, from inside the libraries' exceptions."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        if type(seen) in {OSError, TimeoutError} and seen.args:
            return str(seen)  # `timed out`, or `Tunnel connection failed: 407 Proxy Authentication Required`
        reason = getattr(seen, "reason", None)
        seen = reason if isinstance(reason, BaseException) else seen.__cause__ or seen.__context__
    return "the connection broke"
