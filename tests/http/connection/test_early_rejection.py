"""What is refused by its headers gets the answer that the application would have given."""

import asyncio
import json
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.types import Scope

from bento_service.errors import LightboxError, NotReadyError, OverloadedError
from bento_service.http.connection.early_rejection import REPEAT_S, EarlyRejection, EarlyRejections
from bento_service.http.connection.raw_problem import RawProblem
from bento_service.http.connection.rejection_pacer import RejectionPacer
from bento_service.http.state import AppState
from tests.fakes.classifier import FakeClassifier
from tests.http.exchange import Exchange, http_scope

PATHS = ["/v1/classify", "/classify"]
FULL = OverloadedError("Too much.", retry_after_s=2.2, reason="target", predicted_wait_ms=2200.0)
REFUSALS = st.sampled_from([None, FULL])
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["model", "top_k", "deadline_ms", "topk"]),
        st.sampled_from(["", "lite0", "unknown", "1", "-1", "250", "nan"]),
    ),
    max_size=3,
)
PRIORITIES = st.sampled_from([None, "bulk", "interactive", "urgent"])


def refusals_over(state: AppState, *, is_draining: bool = False) -> EarlyRejections:
    return EarlyRejections(
        lambda: state, pacer=RejectionPacer(cpus=1), on_request=lambda *_: None, is_draining=lambda: is_draining
    )


def scope_of(path: str, query: str = "", priority: str | None = None) -> Scope:
    headers = {"X-Request-ID": "the-same"} | ({"X-Priority": priority} if priority else {})
    return http_scope("POST", path, headers, query)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.tuples(st.sampled_from(PATHS), QUERIES.map(urlencode), PRIORITIES), refusal=REFUSALS)
def test_an_early_rejection_is_the_applications_answer_and_what_it_admits_is_left_to_it(
    app: Starlette, state: AppState, asked: tuple[str, str, str | None], refusal: LightboxError | None
) -> None:
    classifier = state.classifier
    assert isinstance(classifier, FakeClassifier)
    classifier.is_overloaded = True
    classifier.refuse = lambda request_id: refusal
    exchange = Exchange([b"an image"])
    asyncio.run(exchange.run(app, scope_of(*asked)))

    early = refusals_over(state)(scope_of(*asked))

    if early is None:
        assert exchange.status == 200
    else:
        assert (
            json.loads(early.problem.render(early.request_id, is_last=False).partition(b"\r\n\r\n")[2]) == exchange.json
        )


def test_nothing_is_looked_at_while_there_is_no_overload(state: AppState, classifier: FakeClassifier) -> None:
    classifier.refuse = lambda request_id: FULL

    assert refusals_over(state)(scope_of("/v1/classify")) is None
    assert classifier.outcomes == {}


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/classify"), ("POST", "/v1/classify/batch"), ("POST", "/")])
def test_other_calls_are_left_to_the_application(
    state: AppState, classifier: FakeClassifier, method: str, path: str
) -> None:
    classifier.is_overloaded = True
    classifier.refuse = lambda request_id: FULL

    assert refusals_over(state)(http_scope(method, path)) is None


def test_a_worker_that_loads_or_drains_leaves_its_refusals_to_the_application(
    state: AppState, classifier: FakeClassifier
) -> None:
    def load() -> AppState:
        raise NotReadyError("Loading.", retry_after_s=1)

    classifier.is_overloaded = True
    classifier.refuse = lambda request_id: FULL
    loading = EarlyRejections(load, pacer=RejectionPacer(cpus=1), on_request=lambda *_: None, is_draining=lambda: False)

    assert loading(scope_of("/v1/classify")) is None
    assert refusals_over(state, is_draining=True)(scope_of("/v1/classify")) is None


def test_what_repeats_a_refusal_is_counted_and_recorded_too_and_held_as_the_pacer_says(
    state: AppState, classifier: FakeClassifier
) -> None:
    seen: list[tuple[str, str, int]] = []
    durations_s: list[float] = []

    def observe(route: str, method: str, status: int, seconds: float) -> None:
        seen.append((route, method, status))
        durations_s.append(seconds)

    # Its client is told to wait for a whole second.
    short = OverloadedError("Too much.", retry_after_s=0.07, reason="target", predicted_wait_ms=70.0)
    classifier.is_overloaded = True
    classifier.refuse = lambda request_id: short

    async def refuse_many() -> list[EarlyRejection | None]:
        refuse = EarlyRejections(
            lambda: state,
            pacer=RejectionPacer(cpus=1, clock=lambda: 0.0),
            on_request=observe,
            is_draining=lambda: False,
            clock=lambda: 0.0,
        )
        found = [refuse(http_scope("POST", "/v1/classify")) for _ in range(1000)]
        # Timers run in the order in which they are due: what repeats is recorded by now.
        await asyncio.sleep(2 * REPEAT_S)
        return found

    found = [one for one in asyncio.run(refuse_many()) if one is not None]

    assert seen == [("/v1/classify", "POST", 429)] * 1000
    assert classifier.outcomes == dict.fromkeys((one.request_id for one in found), "overloaded")
    assert (found[0].delay_s, found[-1].delay_s) == (0.0, 1.0)
    assert durations_s == [one.delay_s for one in found]


def test_a_refusal_is_repeated_only_to_requests_that_ask_for_the_same_and_for_a_tenth_of_a_second(
    state: AppState, classifier: FakeClassifier
) -> None:
    now_s = 0.0
    classifier.is_overloaded = True
    classifier.refuse = lambda request_id: FULL

    async def refuse_all() -> list[RawProblem]:
        nonlocal now_s
        refuse = EarlyRejections(
            lambda: state,
            pacer=RejectionPacer(cpus=1),
            on_request=lambda *_: None,
            is_draining=lambda: False,
            clock=lambda: now_s,
        )
        scopes = [
            scope_of("/v1/classify"),
            scope_of("/v1/classify"),
            scope_of("/v1/classify", "top_k=1"),
            scope_of("/v1/classify", "top_k=1", "bulk"),
            scope_of("/v1/classify", "top_k=1", "bulk"),
        ]
        found = [refuse(scope) for scope in scopes]
        now_s += REPEAT_S
        return [one.problem for one in (*found, refuse(scopes[-1])) if one is not None]

    problems = asyncio.run(refuse_all())

    assert [problems.index(one) for one in problems] == [0, 0, 2, 3, 3, 5]
