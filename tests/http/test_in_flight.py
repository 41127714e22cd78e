"""Requests that are still open when a server's time is up."""

import asyncio

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from bento_service.http.in_flight import InFlightRequests
from tests.http.exchange import Exchange, http_scope

pytestmark = pytest.mark.anyio


async def begin(app: ASGIApp) -> tuple[Exchange, "asyncio.Task[None]"]:
    """Sends a request that waits for its body, which never comes."""
    exchange = Exchange([])
    task = asyncio.create_task(exchange.run(app, http_scope("POST", "/", {"X-Request-ID": "r-1"})))
    await exchange.waits.wait()
    return exchange, task


async def wait_for_body(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()


async def test_an_open_request_is_ended_with_a_problem_that_says_why() -> None:
    requests = InFlightRequests(wait_for_body)
    exchange, task = await begin(requests)

    assert requests.end_all() == 1
    await task

    assert (exchange.status, exchange.headers["retry-after"]) == (503, "1")
    assert (exchange.json["code"], exchange.json["request_id"]) == ("draining", "r-1")
    assert requests.end_all() == 0


async def test_an_answer_that_has_begun_is_not_mixed_with_another() -> None:
    async def begin_answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    requests = InFlightRequests(begin_answer)
    exchange, task = await begin(requests)
    requests.end_all()
    await task

    assert [message["type"] for message in exchange.sent] == ["http.response.start"]


async def test_a_timeout_of_the_application_is_its_own() -> None:
    async def time_out(scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.timeout(0):
            await receive()

    exchange, task = await begin(InFlightRequests(time_out))

    with pytest.raises(TimeoutError):
        await task
    assert exchange.sent == []


async def test_a_request_that_is_cancelled_from_outside_stays_cancelled() -> None:
    exchange, task = await begin(InFlightRequests(wait_for_body))
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert exchange.sent == []


async def test_what_is_open_is_waited_for_and_what_comes_later_is_not() -> None:
    requests = InFlightRequests(wait_for_body)
    _, first = await begin(requests)
    finishing = asyncio.create_task(requests.finish())
    await asyncio.sleep(0)
    _, later = await begin(requests)
    assert not finishing.done()

    first.cancel()
    await finishing

    assert not later.done()
    later.cancel()
