"""Requests that are still open as a server's time is up."""

import asyncio

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento_service.http.in_flight import InFlightRequests
from lightbox_client.contract import Problem

pytestmark = pytest.mark.anyio


class Conversation:
    """One request to an application, which never gets its body."""

    def __init__(self, app: ASGIApp) -> None:
        self.sent: list[Message] = []
        self.is_receiving = asyncio.Event()
        scope: Scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"x-request-id", b"r-1")]}
        self.task = asyncio.create_task(self._hold(app, scope))

    async def _hold(self, app: ASGIApp, scope: Scope) -> None:
        async def receive() -> Message:
            self.is_receiving.set()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            self.sent.append(message)

        await app(scope, receive, send)


async def wait_for_body(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()


async def test_an_open_request_is_ended_with_a_problem_that_says_why() -> None:
    requests = InFlightRequests(wait_for_body)
    conversation = Conversation(requests)
    await conversation.is_receiving.wait()

    assert requests.end_all() == 1
    await conversation.task

    start, body = conversation.sent
    problem = Problem.model_validate_json(body["body"])
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert (problem.code, problem.request_id) == ("draining", "r-1")


async def test_an_answer_that_has_begun_is_not_mixed_with_another() -> None:
    async def begin_answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    requests = InFlightRequests(begin_answer)
    conversation = Conversation(requests)
    await conversation.is_receiving.wait()
    requests.end_all()
    await conversation.task

    assert [message["type"] for message in conversation.sent] == ["http.response.start"]


async def test_a_finished_request_is_not_ended() -> None:
    async def finish(scope: Scope, receive: Receive, send: Send) -> None:
        """Answer nothing."""

    requests = InFlightRequests(finish)
    await Conversation(requests).task

    assert requests.end_all() == 0


async def test_a_timeout_of_the_application_is_its_own() -> None:
    async def time_out(scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.timeout(0):
            await receive()

    conversation = Conversation(InFlightRequests(time_out))

    with pytest.raises(TimeoutError):
        await conversation.task
    assert conversation.sent == []


async def test_a_request_that_is_cancelled_from_outside_stays_cancelled() -> None:
    conversation = Conversation(InFlightRequests(wait_for_body))
    await conversation.is_receiving.wait()
    conversation.task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await conversation.task
    assert conversation.sent == []


async def test_what_is_open_is_waited_for_and_what_comes_later_is_not() -> None:
    requests = InFlightRequests(wait_for_body)
    first = Conversation(requests)
    await first.is_receiving.wait()
    finishing = asyncio.create_task(requests.finish())
    await asyncio.sleep(0)
    later = Conversation(requests)
    await later.is_receiving.wait()
    assert not finishing.done()

    first.task.cancel()
    await finishing

    assert not later.task.done()
    later.task.cancel()
