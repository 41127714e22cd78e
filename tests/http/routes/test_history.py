import threading
from collections.abc import Iterator
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
from lightbox_client.contract import History, HistoryRequests
from tests.fakes.classifier import FakeClassifier, answer_for, served_model
from tests.fakes.journal import FakeJournal
from tests.http.expectations import expect_problem
from tests.http.wiring import NOW, app_over

RECEIPT = answer_for("r1", served_model("lite0").card, 5).receipt


def test_history_is_the_last_hour_in_sixty_buckets_unless_said_otherwise(
    client: TestClient, journal: FakeJournal
) -> None:
    answer = History.model_validate_json(client.get("/v1/history").content)

    assert journal.asked == [{"since": NOW - timedelta(hours=1), "until": NOW, "buckets": 60, "model": None}]
    assert (answer.bucket_s, len(answer.buckets)) == (60, 60)


def test_a_bucket_counts_bad_requests_failures_refusals_for_load_and_clients_that_hung_up_apart(
    client: TestClient, journal: FakeJournal
) -> None:
    journal.bucket = HistoryBucket(
        start=NOW,
        outcomes={"ok": 7, "overloaded": 3, "cancelled": 4, "undecodable_image": 2, "draining": 1, "lost_in_space": 1},
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
        "outcomes": {
            "ok": 7,
            "overloaded": 3,
            "cancelled": 4,
            "undecodable_image": 2,
            "draining": 1,
            "lost_in_space": 1,
        },
        "cached": 2,
        "total_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0, "max": 3.5},
        "cached_ms": {"p50": 0.2, "p95": 0.3, "p99": 0.3, "max": 0.3},
        "stages_ms": {"decode": {"p50": None, "p95": None, "p99": None, "max": None}},
        "batch_sizes": {"4": 5},
        "top_classes": [{"class_id": 285, "label": "Egyptian cat", "count": 5}],
    }


@pytest.mark.parametrize(
    "since",
    ["2026-03-01T11:30:00Z", "2026-03-01T11:30:00", "2026-03-01T13:30:00%2B02:00", "1772364600", "1772364600.0"],
)
def test_a_time_may_be_iso_8601_or_unix_seconds(client: TestClient, journal: FakeJournal, since: str) -> None:
    assert client.get(f"/v1/history?since={since}").status_code == 200
    assert journal.asked[0]["since"] == datetime(2026, 3, 1, 11, 30, tzinfo=UTC)


def test_an_end_without_a_start_means_the_hour_before_it(client: TestClient, journal: FakeJournal) -> None:
    client.get("/v1/history?until=2026-02-01T00:00:00Z")

    assert journal.asked[0]["since"] == datetime(2026, 1, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize("path", ["/v1/history", "/v1/history/requests"])
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
def test_a_window_that_makes_no_sense_is_refused(
    client: TestClient, journal: FakeJournal, path: str, query: str, parameter: str
) -> None:
    problem = expect_problem(client.get(f"{path}?{query}"), 400, "invalid_parameter")

    assert (problem.model_extra or {})["parameter"] == parameter
    assert journal.asked == []


@pytest.mark.parametrize(
    "query", ["since=2025-01-25T12:00:00Z", "until=2026-03-02T12:00:00Z", "since=1970-01-01&until=1970-01-01T00:00:01"]
)
def test_a_window_may_be_as_long_as_the_journal_keeps_anything_and_end_a_day_ahead(
    client: TestClient, query: str
) -> None:
    assert client.get(f"/v1/history?{query}").status_code == 200


@pytest.mark.parametrize("query", ["buckets=0", "buckets=501", "buckets=many"])
def test_the_number_of_buckets_is_bounded(client: TestClient, query: str) -> None:
    expect_problem(client.get(f"/v1/history?{query}"), 400, "invalid_parameter")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "order=oldest", "outcome=fine", "offset=-1", "offset=100001"]
)
def test_a_list_of_receipts_names_what_it_allows(client: TestClient, query: str) -> None:
    name, _, given_value = query.partition("=")

    problem = expect_problem(client.get(f"/v1/history/requests?{query}"), 400, "invalid_parameter")

    assert problem.model_extra == {"parameter": name, "given": given_value}


def test_filters_reach_the_journal(client: TestClient, journal: FakeJournal) -> None:
    client.get("/v1/history/requests?order=slowest&limit=7&offset=14&outcome=overloaded&model=gone/long-ago")

    assert journal.asked == [
        {
            "since": NOW - timedelta(hours=1),
            "until": NOW,
            "order": "slowest",
            "limit": 7,
            "model": "gone/long-ago",
            "outcome": "overloaded",
            "request_id": None,
            "offset": 14,
        }
    ]


@pytest.mark.parametrize(
    ("query", "since"),
    [
        ("request_id=r1", NOW - timedelta(days=400)),
        ("request_id=r1&since=2026-03-01T11:30:00Z", datetime(2026, 3, 1, 11, 30, tzinfo=UTC)),
        ("request_id=", NOW - timedelta(hours=1)),
    ],
)
def test_a_receipt_is_found_by_its_id_however_old_it_is(
    client: TestClient, journal: FakeJournal, query: str, since: datetime
) -> None:
    assert client.get(f"/v1/history/requests?{query}").status_code == 200

    assert journal.asked[0]["since"] == since
    assert journal.asked[0]["request_id"] == ("r1" if "r1" in query else None)


def test_receipts_are_newest_first_and_twenty_unless_said_otherwise(client: TestClient, journal: FakeJournal) -> None:
    client.get("/v1/history/requests?outcome=&model=")

    question = journal.asked[0]
    assert (question["order"], question["limit"], question["outcome"], question["model"]) == ("newest", 20, None, None)


def test_a_receipt_has_the_shape_of_the_contract(client: TestClient, journal: FakeJournal) -> None:
    journal.receipts = (RECEIPT, replace(RECEIPT, image=None, top=(), outcome="overloaded"))

    first, second = HistoryRequests.model_validate_json(client.get("/v1/history/requests").content).requests

    assert first.request_id == "r1"
    assert first.received_at == RECEIPT.received_at
    assert first.timings_ms.total == 13.0
    assert len(first.predictions) == 5
    assert first.image is not None
    assert (second.image, second.predictions, second.outcome) == (None, [], "overloaded")


def test_an_unavailable_journal_is_a_503_problem(client: TestClient, journal: FakeJournal) -> None:
    journal.error = JournalUnavailableError("the database is away", retry_after_s=5)

    for path in ("/v1/history", "/v1/history/requests"):
        response = client.get(path)
        expect_problem(response, 503, "journal_unavailable")
        assert response.headers["retry-after"] == "5"


def test_the_databases_own_error_is_neither_answered_nor_logged(
    client: TestClient, journal: FakeJournal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.error = JournalUnavailableError("db.internal:5432 refused user lightbox", retry_after_s=5)

    response = client.get("/v1/history")

    assert "db.internal" not in response.text
    assert "db.internal" not in caplog.text


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
@example(since=None, until=datetime(1, 1, 1, 0, 30))
@example(since=None, until=datetime.max)
@example(since=datetime.min, until=None)
@example(since=datetime.min, until=datetime.max)
@example(since=datetime.min, until=datetime(1, 1, 1, 0, 30))
def test_a_window_is_refused_or_in_utc_in_order_and_no_longer_than_the_journal_keeps_anything(
    since: datetime | None, until: datetime | None
) -> None:
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
    yield TestClient(app_over(AppState(FakeClassifier(), store, Settings(), ByteBudget(1), clock=lambda: NOW)))
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
