"""A request that is rejected by its headers gets the answer that the application would have given."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.types import Scope

from bento_service.errors import LightboxError, NotReadyError, OverloadedError
from bento_service.http.connection.early_rejection import REPEAT_S, EarlyRejection, EarlyRejections
from bento_service.http.connection.rejection_pacer import RejectionPacer
from bento_service.http.state import AppState
from tests.fakes.classifier import FakeClassifier
from tests.http.exchange import Exchange, http_scope

PATH = "/v1/classify"
FULL = OverloadedError("Too much.", retry_after_s=2.2, reason="target", predicted_wait_ms=2200.0)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["model", "top_k", "deadline_ms", "topk", "opacity"]),
        st.sampled_from(["", "lite0", "unknown", "1", "-1", "250", "nan"]),
    ),
    max_size=3,
)
PRIORITIES = st.sampled_from([None, "bulk", "interactive", "urgent"])


@pytest.fixture(autouse=True)
def overloaded(classifier: FakeClassifier) -> None:
    classifier.is_overloaded = True
    classifier.refuse = lambda request_id: FULL


def rejections_over(state: AppState, **options: Any) -> EarlyRejections:
    """`options` replace the arguments."""
    defaults: dict[str, Any] = {
        "provide": lambda: state,
        "pacer": RejectionPacer(cpus=1),
        "on_request": lambda *_: None,
        "is_draining": lambda: False,
    }
    return EarlyRejections(**(defaults | options))


def scope_of(path: str, query: str = "", priority: str | None = None) -> Scope:
    headers = {"X-Request-ID": "the-same"} | ({"X-Priority": priority} if priority else {})
    return http_scope("POST", path, headers, query)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.tuples(st.sampled_from([PATH, "/classify", "/v1/explain"]), QUERIES.map(urlencode), PRIORITIES),
    error=st.sampled_from([None, FULL]),
)
def test_an_early_rejection_is_the_answer_of_the_application(
    app: Starlette,
    state: AppState,
    classifier: FakeClassifier,
    asked: tuple[str, str, str | None],
    error: LightboxError | None,
) -> None:
    classifier.refuse = lambda request_id: error
    exchange = Exchange([b"an image"])
    asyncio.run(exchange.run(app, scope_of(*asked)))

    early = rejections_over(state)(scope_of(*asked))

    if early is None:
        assert exchange.status == 200
    else:
        document = early.problem.render(early.request_id, is_last=False).partition(b"\r\n\r\n")[2]
        assert json.loads(document) == exchange.json


def load() -> AppState:
    raise NotReadyError("Loading.", retry_after_s=1)


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", PATH, {}),
        ("POST", "/v1/classify/batch", {}),
        ("POST", "/", {}),
        ("POST", PATH, {"provide": load}),
        ("POST", PATH, {"is_draining": lambda: True}),
    ],
    ids=["GET", "batch", "page", "loading", "draining"],
)
def test_other_requests_are_left_to_the_application(
    state: AppState, method: str, path: str, options: dict[str, Callable[[], object]]
) -> None:
    assert rejections_over(state, **options)(http_scope(method, path)) is None


def test_nothing_is_looked_at_while_there_is_no_overload(state: AppState, classifier: FakeClassifier) -> None:
    classifier.is_overloaded = False

    assert rejections_over(state)(scope_of(PATH)) is None
    assert classifier.outcomes == {}


def test_repeated_rejections_are_counted_recorded_and_paced(state: AppState, classifier: FakeClassifier) -> None:
    seen: list[tuple[str, str, int, float]] = []
    # Its client is told to wait for a whole second.
    short = OverloadedError("Too much.", retry_after_s=0.07, reason="target", predicted_wait_ms=70.0)
    classifier.refuse = lambda request_id: short

    async def reject_many() -> list[EarlyRejection | None]:
        pacer = RejectionPacer(cpus=1, clock=lambda: 0.0)
        reject = rejections_over(state, pacer=pacer, on_request=lambda *each: seen.append(each), clock=lambda: 0.0)
        found = [reject(http_scope("POST", PATH)) for _ in range(1000)]
        # Timers run in the order in which they are due: what repeats is recorded by now.
        await asyncio.sleep(2 * REPEAT_S)
        return found

    found = [one for one in asyncio.run(reject_many()) if one is not None]

    assert classifier.outcomes == dict.fromkeys((one.request_id for one in found), "overloaded")
    assert (found[0].delay_s, found[-1].delay_s) == (0.0, 1.0)
    assert seen == [(PATH, "POST", 429, one.delay_s) for one in found]
    assert len(seen) == 1000


def test_a_rejection_is_repeated_briefly_and_to_equal_requests_only(state: AppState) -> None:
    now_s = 0.0
    asked = [("",), ("",), ("top_k=1",), ("top_k=1", "bulk"), ("top_k=1", "bulk")]

    async def reject_all() -> list[EarlyRejection | None]:
        nonlocal now_s
        reject = rejections_over(state, clock=lambda: now_s)
        found = [reject(scope_of(PATH, *each)) for each in asked]
        now_s += REPEAT_S
        return [*found, reject(scope_of(PATH, *asked[-1]))]

    problems = [one.problem for one in asyncio.run(reject_all()) if one is not None]

    assert [problems.index(one) for one in problems] == [0, 0, 2, 3, 3, 5]
