import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.testclient import TestClient

from bento_service.domain.history import HistoryBucket, Quantiles
from bento_service.errors import InvalidParameterError, JournalUnavailableError
from bento_service.http.requests.body import ByteBudget
from bento_service.http.requests.parameters import WindowQuery
from bento_service.http.state import AppState
from bento_service.journal.store import SqlJournalStore
from bento_service.settings import Settings
from lightbox_client.contract import HistoryRequests
from tests.fakes.classifier import FakeClassifier, answer_for, served_model
from tests.fakes.explainer import FakeExplainer
from tests.fakes.journal import FakeJournal
from tests.http.expectations import expect_problem
from tests.http.wiring import NOW, app_over

RECEIPT = answer_for("r1", served_model("lite0").card, 5).receipt
HISTORY, REQUESTS = "/v1/history", "/v1/history/requests"
HOUR_AGO = NOW - timedelta(hours=1)
HALF_PAST = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("call", "asked"),
    [
        (HISTORY, {"since": HOUR_AGO, "until": NOW, "buckets": 60, "model": None}),
        (f"{HISTORY}?since=2026-03-01T11:30:00Z", {"since": HALF_PAST}),
        (f"{HISTORY}?since=2026-03-01T11:30:00", {"since": HALF_PAST}),
        (f"{HISTORY}?since=2026-03-01T13:30:00%2B02:00", {"since": HALF_PAST}),
        (f"{HISTORY}?since=1772364600", {"since": HALF_PAST}),
        (f"{HISTORY}?since=1772364600.0", {"since": HALF_PAST}),
        (f"{HISTORY}?until=2026-02-01T00:00:00Z", {"since": datetime(2026, 1, 31, 23, tzinfo=UTC)}),
        (f"{HISTORY}?since=2025-01-25T12:00:00Z", {"since": NOW - timedelta(days=400)}),
        (f"{HISTORY}?until=2026-03-02T12:00:00Z", {"until": NOW + timedelta(days=1)}),
        (f"{HISTORY}?since=1970-01-01&until=1970-01-01T00:00:01", {"since": datetime(1970, 1, 1, tzinfo=UTC)}),
        (
            f"{REQUESTS}?outcome=&model=&request_id=",
            {"since": HOUR_AGO, "order": "newest", "limit": 20, "outcome": None, "model": None, "request_id": None},
        ),
        (
            f"{REQUESTS}?model=pets&model_version=2f3a",
            {"since": HOUR_AGO, "model": "pets", "model_version": "2f3a"},
        ),
        (
            f"{REQUESTS}?order=slowest&limit=7&offset=14&outcome=overloaded&model=gone/long-ago",
            {"until": NOW, "order": "slowest", "limit": 7, "offset": 14, "outcome": "overloaded"}
            | {"model": "gone/long-ago"},
        ),
        (f"{REQUESTS}?request_id=r1", {"since": NOW - timedelta(days=400), "request_id": "r1"}),
        (f"{REQUESTS}?request_id=r1&since=2026-03-01T11:30:00Z", {"since": HALF_PAST, "request_id": "r1"}),
    ],
)
def test_the_journal_is_asked_for_what_the_query_says(
    client: TestClient, journal: FakeJournal, call: str, asked: Mapping[str, object]
) -> None:
    assert client.get(call).status_code == 200

    assert asked.items() <= journal.asked[0].items()


def test_a_bucket_counts_each_kind_of_outcome_apart(client: TestClient, journal: FakeJournal) -> None:
    outcomes = {"ok": 7, "overloaded": 3, "cancelled": 4, "undecodable_image": 2, "draining": 1, "lost_in_space": 1}
    journal.bucket = HistoryBucket(
        start=NOW,
        outcomes=outcomes,
        cached=2,
        cached_total=Quantiles(0.2, 0.3, 0.3, 0.3),
        stages={"total": Quantiles(1.0, 2.0, 3.0, 3.5), "decode": Quantiles()},
        batch_sizes={4: 5},
        top_classes=((285, "Egyptian cat", 5),),
    )

    total = client.get("/v1/history").json()["total"]

    assert total == {
        "start": "2026-03-01T12:00:00Z",
        "count": 18,
        "errors": 4,
        "client_errors": 2,
        "failures": 2,
        "shed": 3,
        "outcomes": outcomes,
        "cached": 2,
        "total_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0, "max": 3.5},
        "cached_ms": {"p50": 0.2, "p95": 0.3, "p99": 0.3, "max": 0.3},
        "stages_ms": {"decode": {"p50": None, "p95": None, "p99": None, "max": None}},
        "batch_sizes": {"4": 5},
        "top_classes": [{"class_id": 285, "label": "Egyptian cat", "count": 5}],
    }


@pytest.mark.parametrize("path", [HISTORY, REQUESTS])
@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("since=2026-03-01T12:00:00Z", "since"),
        ("since=2026-03-02&until=2026-03-01", "since"),
        ("since=yesterday", "since"),
        ("until=inf", "until"),
        ("until=0001-01-01T00:00:00%2B10:00", "until"),
        ("until=0001-01-01T00:30:00", "until"),
        ("until=1969-12-31T23:59:59Z", "until"),
        ("until=9999-12-31T23:59:59", "until"),
        ("until=2026-03-02T12:00:01Z", "until"),
        ("since=9999-12-31T23:59:59", "since"),
        ("since=0001-01-01&until=9999-12-31", "since"),
        ("since=2025-01-25T11:59:59Z", "since"),
        ("since=0", "since"),
        ("model=" + "m" * 300, "model"),
        ("model=a%00b", "model"),
    ],
)
def test_an_impossible_window_is_refused(
    client: TestClient, journal: FakeJournal, path: str, query: str, parameter: str
) -> None:
    problem = expect_problem(client.get(f"{path}?{query}"), 400, "invalid_parameter")

    assert (problem.model_extra or {})["parameter"] == parameter
    assert journal.asked == []


@pytest.mark.parametrize(
    ("path", "query"),
    [
        *((HISTORY, query) for query in ("buckets=0", "buckets=501", "buckets=many")),
        *((REQUESTS, query) for query in ("limit=0", "limit=501", "order=oldest")),
        *((REQUESTS, query) for query in ("outcome=fine", "offset=-1", "offset=100001")),
    ],
)
def test_a_bad_parameter_is_named_with_what_was_given(client: TestClient, path: str, query: str) -> None:
    name, _, given_value = query.partition("=")

    problem = expect_problem(client.get(f"{path}?{query}"), 400, "invalid_parameter")

    assert problem.model_extra == {"parameter": name, "given": given_value}


def test_a_receipt_has_the_shape_of_the_contract(client: TestClient, journal: FakeJournal) -> None:
    journal.receipts = (RECEIPT, replace(RECEIPT, image=None, top=(), outcome="overloaded"))

    first, second = HistoryRequests.model_validate_json(client.get("/v1/history/requests").content).requests

    assert first.request_id == "r1"
    assert first.received_at == RECEIPT.received_at
    assert first.timings_ms.total == 13.0
    assert len(first.predictions) == 5
    assert first.image is not None
    assert (second.image, second.predictions, second.outcome) == (None, [], "overloaded")


@pytest.mark.parametrize("path", [HISTORY, REQUESTS])
def test_an_unavailable_journal_is_a_503_problem_without_the_cause(
    client: TestClient, journal: FakeJournal, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    journal.error = JournalUnavailableError("db.internal:5432 refused user lightbox", retry_after_s=5)

    response = client.get(path)

    expect_problem(response, 503, "journal_unavailable")
    assert response.headers["retry-after"] == "5"
    assert "db.internal" not in response.text + caplog.text


def test_the_journal_is_read_off_the_event_loop(client: TestClient, journal: FakeJournal) -> None:
    threads: list[str] = []

    class Watching(FakeJournal):
        def _ask(self, **question: object) -> None:
            threads.append(threading.current_thread().name)

    journal.__class__ = Watching

    client.get("/v1/history")

    assert "AnyIO worker thread" in threads


MOMENTS = st.none() | st.one_of(
    st.datetimes(timezones=st.none() | st.timezones()),
    st.datetimes(NOW.replace(year=2024, tzinfo=None), NOW.replace(year=2027, tzinfo=None), timezones=st.timezones()),
)


@given(MOMENTS, MOMENTS)
def test_a_window_is_refused_or_in_utc_in_order_and_bounded(since: datetime | None, until: datetime | None) -> None:
    try:
        start, end = WindowQuery(since=since, until=until).window(NOW)
    except (InvalidParameterError, ValidationError):
        return
    assert start < end <= NOW + timedelta(days=1)
    assert end - start <= timedelta(days=400)
    assert start.tzinfo is end.tzinfo is UTC


@pytest.fixture(scope="module")
def real_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The edge over a journal in a real database."""
    store = SqlJournalStore(f"sqlite:///{tmp_path_factory.mktemp('journal') / 'journal.sqlite3'}", now=lambda: NOW)
    store.migrate()
    classifier = FakeClassifier()
    state = AppState(classifier, store, Settings(), ByteBudget(1), FakeExplainer(classifier), clock=lambda: NOW)
    yield TestClient(app_over(state))
    store.close()


@given(MOMENTS, MOMENTS, st.integers(1, 500))
@settings(max_examples=60)
@example(since=None, until=datetime(1, 1, 1, 0, 30), buckets=60)
@example(since=None, until=datetime.max, buckets=60)
@example(since=datetime.min, until=None, buckets=1)
@example(since=datetime.min, until=datetime.max, buckets=1)
@example(since=datetime(1970, 1, 1), until=datetime(1970, 1, 1, 0, 0, 1), buckets=500)
def test_no_window_is_a_defect_of_the_real_journal(
    real_client: TestClient, since: datetime | None, until: datetime | None, buckets: int
) -> None:
    window = {name: moment.isoformat() for name, moment in (("since", since), ("until", until)) if moment}

    assert real_client.get("/v1/history", params={**window, "buckets": str(buckets)}).status_code in {200, 400}
    assert real_client.get("/v1/history/requests", params=window).status_code in {200, 400}
