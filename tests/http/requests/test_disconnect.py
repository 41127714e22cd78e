import asyncio

import pytest
from starlette.applications import Starlette
from starlette.types import Scope

from bento_service.errors import ClientGoneError
from bento_service.http.requests.disconnect import DISCONNECT_EXTENSION, CancelOnDisconnect, DisconnectSignal
from bento_service.http.state import AppState
from tests.fakes.classifier import FakeClassifier, Gate
from tests.http.exchange import Exchange, http_scope
from tests.http.requests.test_upload import FORM, part


def test_a_client_that_hangs_up_while_sending_gets_no_answer(
    app: Starlette, state: AppState, classifier: FakeClassifier
) -> None:
    async def talk() -> Exchange:
        exchange = Exchange([b"half an ima"], is_whole=False)
        exchange.hang_up()
        await exchange.run(app, http_scope("POST", "/v1/classify"))
        return exchange

    assert asyncio.run(talk()).sent == []
    assert list(classifier.outcomes.values()) == ["cancelled"]
    assert classifier.images == []
    assert state.budget.held_bytes == 0


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch"])
def test_a_client_that_hangs_up_while_waiting_cancels_its_images(
    app: Starlette, state: AppState, classifier: FakeClassifier, path: str
) -> None:
    images = 2 if "batch" in path else 1

    async def talk() -> Exchange:
        classifier.gate = Gate()
        exchange = Exchange([*[part("images" if "batch" in path else "image", b"one")] * images, b"--cut--"])
        task = asyncio.create_task(exchange.run(app, http_scope("POST", path, FORM)))
        await classifier.gate.wait_for_arrivals(images)
        exchange.hang_up()
        await task
        return exchange

    assert asyncio.run(talk()).sent == []
    assert list(classifier.outcomes.values()) == ["cancelled"] * images
    assert (classifier.in_flight, state.budget.held_bytes) == (0, 0)


def scope_with(signal: DisconnectSignal) -> Scope:
    return {**http_scope("POST", "/v1/classify"), "extensions": {DISCONNECT_EXTENSION: {"signal": signal}}}


def test_an_error_of_the_work_itself_passes_through() -> None:
    async def work() -> None:
        async with CancelOnDisconnect(scope_with(DisconnectSignal())):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(work())


@pytest.mark.parametrize("is_early", [False, True], ids=["during the work", "before the work"])
def test_a_disconnect_cancels_the_work(is_early: bool) -> None:
    async def work() -> None:
        signal = DisconnectSignal()
        if is_early:
            signal.set()
        else:
            asyncio.get_running_loop().call_soon(signal.set)
        with pytest.raises(ClientGoneError):
            async with CancelOnDisconnect(scope_with(signal)):
                await asyncio.Event().wait()
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    asyncio.run(work())


def test_a_cancellation_from_outside_passes_through() -> None:
    async def work() -> None:
        async with CancelOnDisconnect(scope_with(DisconnectSignal())):
            has_begun.set()
            await asyncio.Event().wait()

    async def cancel() -> None:
        task = asyncio.create_task(work())
        await has_begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    has_begun = asyncio.Event()
    asyncio.run(cancel())


def test_a_disconnect_after_the_work_cancels_nothing() -> None:
    async def work() -> int:
        signal = DisconnectSignal()
        async with CancelOnDisconnect(scope_with(signal)):
            await asyncio.sleep(0)
        signal.set()
        await asyncio.sleep(0)
        return 7

    assert asyncio.run(work()) == 7
