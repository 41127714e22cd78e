import socket
import time
from collections.abc import Mapping

import numpy as np
import pytest

from bento_service.errors import InvalidParameterError
from bento_service.load_test.exchange import BROKEN, TIMED_OUT
from bento_service.load_test.generator import run_closed, run_open
from bento_service.load_test.payloads import LoadOptions
from lightbox_client.errors import InvalidAddressError, ServiceUnreachableError
from tests.fakes import service_data
from tests.unit.load_test.scripted_server import CLOSE, HANG, ScriptedServer, answer

BODIES = [b"first", b"second"]
CLOSED_S = 2.0
"""Enough for a second answer on each connection, also where this process gets no turn for a while."""


def test_an_open_loop_sends_what_was_scheduled_in_turn() -> None:
    with ScriptedServer(lambda number: answer()) as server:
        run = run_open(server.url, BODIES, 100, 0.2, seed=3)

    assert (run.requests, run.by_status) == (20, {200: 20})
    assert sorted(server.bodies) == sorted(BODIES * 10)
    assert np.all(run.sent_s >= run.due_s)
    assert np.all(run.done_s >= run.sent_s)


def test_equal_arguments_make_equal_schedules() -> None:
    with ScriptedServer(lambda number: answer()) as server:
        first, second = (run_open(server.url, BODIES, 50, 0.2, seed=7) for _ in range(2))

    np.testing.assert_allclose(first.due_s, second.due_s, atol=1e-6)


def test_requests_go_to_the_path_of_the_url_with_the_headers_asked_for() -> None:
    options = LoadOptions(content_type="image/jpeg", headers={"X-Priority": "bulk"})
    with ScriptedServer(lambda number: answer()) as server:
        run_open(server.url, BODIES, 10, 0.1, options=options)

    lines = server.heads[0].decode().split("\r\n")
    assert lines[0] == "POST /v1/classify?top_k=1 HTTP/1.1"
    assert {"Content-Type: image/jpeg", "X-Priority: bulk", "Content-Length: 5"} <= set(lines)


def test_latency_counts_from_when_a_request_was_due_though_a_stalled_server_kept_it_from_being_sent() -> None:
    # Far longer than the schedule, so that all of it is due by then on a machine that is busy with something else.
    stall_s = 2.0

    def stall_first(number: int) -> bytes:
        if number == 0:
            time.sleep(stall_s)
        return answer()

    with ScriptedServer(stall_first) as server:
        run = run_open(server.url, BODIES, 100, 0.2, options=LoadOptions(max_connections=1))

    assert run.by_status == {200: 20}
    assert run.latencies_ms.min() > 1000 * (stall_s - 0.2)
    assert run.exhausted == 19
    assert run.is_client_bound


def test_a_refusal_is_no_failure_and_its_retry_after_is_noted() -> None:
    with ScriptedServer(lambda number: answer(429, b"", "Retry-After: 3")) as server:
        run = run_open(server.url, BODIES, 50, 0.1)

    assert (run.refused, run.failed, run.by_status) == (5, 0, {429: 5})
    assert run.retry_after_s.tolist() == [3.0] * 5
    assert run.percentile_ms(0.5) == float("inf")


def test_any_other_status_is_a_failure() -> None:
    with ScriptedServer(lambda number: answer(500 if number % 2 else 200)) as server:
        run = run_open(server.url, BODIES, 100, 0.1)

    assert (run.failed, dict(sorted(run.by_status.items()))) == (5, {200: 5, 500: 5})


def test_a_server_that_never_answers_is_given_up() -> None:
    with ScriptedServer(lambda number: HANG) as server:
        run = run_open(server.url, BODIES, 30, 0.1, options=LoadOptions(timeout_s=0.3))

    assert (run.by_status, run.failed) == ({TIMED_OUT: 3}, 3)
    assert run.latencies_ms.min() >= 300


def test_requests_that_wait_for_a_connection_are_given_up_in_time_too() -> None:
    with ScriptedServer(lambda number: HANG) as server:
        run = run_open(server.url, BODIES, 50, 0.1, options=LoadOptions(timeout_s=0.3, max_connections=1))

    assert run.by_status == {TIMED_OUT: 5}
    assert np.isnan(run.sent_s).any()


@pytest.mark.parametrize(
    "reply",
    [CLOSE, b"SMTP nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf"],
    ids=["closed", "no HTTP", "a bad length"],
)
def test_a_connection_that_breaks_before_the_answer_is_whole_is_a_failure(reply: bytes | None) -> None:
    with ScriptedServer(lambda number: reply, is_closing=True) as server:
        run = run_open(server.url, BODIES, 50, 0.1)

    assert run.by_status == {BROKEN: 5}


def test_a_kept_connection_that_the_server_closes_silently_fails_no_request() -> None:
    with ScriptedServer(lambda number: answer(), is_closing=True) as server:
        run = run_closed(server.url, BODIES, 2, CLOSED_S)

    assert run.requests > 4
    assert set(run.by_status) == {200}


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        answer(200, b"{}", "Connection: close"),
    ],
    ids=["chunked", "after 100 Continue", "HTTP/1.0", "with Connection: close"],
)
def test_every_way_to_frame_an_answer_is_understood(reply: bytes) -> None:
    with ScriptedServer(lambda number: reply) as server:
        run = run_open(server.url, BODIES, 50, 0.2)

    assert run.by_status == {200: 10}


def test_a_closed_loop_keeps_so_many_connections_and_no_more() -> None:
    with ScriptedServer(lambda number: answer()) as server:
        run = run_closed(server.url, BODIES, 4, CLOSED_S)

    assert (run.connections, server.connections) == (4, 4)
    assert set(run.by_status) == {200}
    assert run.requests > 8
    assert (run.exhausted, run.offered_per_s) == (0, None)


def test_bodies_made_unique_begin_with_the_image_and_are_all_different() -> None:
    with ScriptedServer(lambda number: answer()) as server:
        for _ in range(2):
            run_open(server.url, BODIES, 50, 0.2, options=LoadOptions(makes_unique=True))

    assert len(set(server.bodies)) == len(server.bodies) == 20
    assert all(body.startswith(tuple(BODIES)) for body in server.bodies)


def test_the_timings_in_answers_are_read_where_asked_for() -> None:
    body = service_data.classification().model_dump_json().encode()
    with ScriptedServer(lambda number: answer(200, body if number else b"no JSON")) as server:
        run = run_open(server.url, BODIES, 50, 0.1, options=LoadOptions(reads_answers=True))
        unread = run_open(server.url, BODIES, 50, 0.1)

    assert run.stages_ms["decode"].tolist() == [1.3] * 4
    assert run.inference_per_image_ms.tolist() == pytest.approx([9.1 / 4] * 4)
    assert len(unread.stages_ms["decode"]) == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"bodies": []}, "no body"),
        ({"rate_per_s": 1e9}, "takes 1 to"),
        ({"duration_s": 0.0}, "takes up to"),
        ({"duration_s": 1e6}, "takes up to"),
        ({"rate_per_s": 0.01}, "takes 1 to"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_anything_is_sent(arguments: Mapping[str, object], reason: str) -> None:
    with ScriptedServer(lambda number: answer()) as server, pytest.raises(InvalidParameterError, match=reason):
        run_open(**{"url": server.url, "bodies": BODIES, "rate_per_s": 10, "duration_s": 1.0, **arguments})  # type: ignore[arg-type]

    assert server.bodies == []


def test_a_header_cannot_smuggle_in_another() -> None:
    options = LoadOptions(headers={"X-Name": "value\r\nX-Other: value"})
    with ScriptedServer(lambda number: answer()) as server, pytest.raises(InvalidParameterError, match="line break"):
        run_closed(server.url, BODIES, 1, 0.1, options=options)


def test_a_place_where_nothing_listens_is_said_before_the_run() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(ServiceUnreachableError, match="Connection refused"):
            run_open(url, BODIES, 10, 0.1)


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "ftp://host/", "http://", "http://host:99999/", "http://h/a b"])
def test_what_is_no_address_is_named(url: str) -> None:
    with pytest.raises(InvalidAddressError, match="is no address"):
        run_open(url, BODIES, 10, 0.1)
