import asyncio
import socket
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.errors import InvalidParameterError
from bento_service.load_test.address import Address
from bento_service.load_test.connections import ConnectionPool
from bento_service.load_test.generator import LoadOptions, draw_arrivals, run_closed, run_open
from bento_service.load_test.result import BROKEN, TIMED_OUT, Exchange
from tests.fakes import service_data
from tests.unit.load_test.scripted_server import CLOSE, HANG, ScriptedServer, answer

BODIES = [b"first", b"second"]
CLOSED_S = 2.0
"""Enough for a second answer on each connection, also where this process gets no turn for a while."""


@given(rate=st.floats(1, 2000), duration_s=st.floats(1, 20), seed=st.integers(0, 2**32))
def test_arrivals_are_exact_in_number_and_ascending(rate: float, duration_s: float, seed: int) -> None:
    arrivals = draw_arrivals(rate, duration_s, seed)

    assert len(arrivals) == round(rate * duration_s)
    assert np.all(np.diff(arrivals) >= 0)
    assert 0 <= arrivals[0] <= arrivals[-1] <= duration_s


def test_gaps_between_arrivals_are_exponential() -> None:
    gaps = np.diff(draw_arrivals(1000, 100, seed=1))

    # An exponential's mean equals its standard deviation, and a share of 1/e of it is longer than the mean.
    assert gaps.mean() == pytest.approx(0.001, rel=0.01)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)
    assert np.mean(gaps > gaps.mean()) == pytest.approx(np.exp(-1), abs=0.01)


def test_an_open_loop_sends_what_was_scheduled_in_turn_to_the_urls_path() -> None:
    options = LoadOptions(content_type="image/jpeg", headers={"X-Priority": "bulk"})
    with ScriptedServer(lambda number: answer()) as server:
        run = run_open(server.url, BODIES, 100, 0.2, seed=3, options=options)

    assert (run.requests, run.by_status) == (20, {200: 20})
    lines = server.heads[0].decode().splitlines()
    assert lines[0] == "POST /v1/classify?top_k=1 HTTP/1.1"
    assert {"Content-Type: image/jpeg", "X-Priority: bulk"} <= set(lines)
    assert sorted(server.bodies) == sorted(BODIES * 10)
    assert np.all(run.sent_s >= run.due_s)
    assert np.all(run.done_s >= run.sent_s)


def test_a_seed_makes_the_schedule() -> None:
    with ScriptedServer(lambda number: answer()) as server:
        first, again, other = (run_open(server.url, BODIES, 50, 0.2, seed=seed) for seed in (7, 7, 8))

    np.testing.assert_allclose(first.due_s, again.due_s, atol=1e-6)
    assert not np.allclose(first.due_s, other.due_s, atol=1e-3)


def test_latency_counts_from_when_a_request_was_due() -> None:
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


def test_429_and_503_are_refusals_and_any_other_status_is_a_failure() -> None:
    with ScriptedServer(lambda number: answer((200, 429, 503, 500)[number % 4])) as server:
        run = run_open(server.url, BODIES, 120, 0.1)

    assert (run.refused, run.failed, run.by_status) == (6, 3, {200: 3, 429: 3, 503: 3, 500: 3})


@pytest.mark.parametrize("max_connections", [512, 1])
def test_a_request_is_given_up_in_time_also_while_it_waits_for_a_connection(max_connections: int) -> None:
    options = LoadOptions(timeout_s=0.3, max_connections=max_connections)
    with ScriptedServer(lambda number: HANG) as server:
        run = run_open(server.url, BODIES, 50, 0.1, options=options)

    assert (run.by_status, run.failed) == ({TIMED_OUT: 5}, 5)
    assert run.latencies_ms.min() >= 300
    assert np.isnan(run.sent_s).any() == (max_connections == 1)


@pytest.mark.parametrize(
    "reply",
    [CLOSE, b"SMTP nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf"],
    ids=["closed", "no HTTP", "a bad length"],
)
def test_a_connection_that_breaks_before_the_end_of_the_answer_is_a_failure(reply: bytes | None) -> None:
    with ScriptedServer(lambda number: reply, is_closing=True) as server:
        run = run_open(server.url, BODIES, 50, 0.1)

    assert run.by_status == {BROKEN: 5}


@pytest.mark.parametrize("is_closing", [False, True])
def test_a_closed_loop_keeps_so_many_connections_and_fails_no_request(is_closing: bool) -> None:
    with ScriptedServer(lambda number: answer(), is_closing=is_closing) as server:
        run = run_closed(server.url, BODIES, 4, CLOSED_S)

    assert set(run.by_status) == {200}
    assert run.requests > 8
    assert (run.connections, run.exhausted, run.offered_per_s) == (4, 0, None)
    assert (server.connections == 4) is not is_closing  # which are opened again where the server closes them


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


@pytest.mark.parametrize("rate_per_s", [1e9, 0.01])
def test_a_rate_that_makes_too_many_requests_or_none_is_refused(rate_per_s: float) -> None:
    with (
        ScriptedServer(lambda number: answer()) as server,
        pytest.raises(InvalidParameterError, match="cannot be sent"),
    ):
        run_open(server.url, BODIES, rate_per_s, 1.0)

    assert server.bodies == []


def test_waiting_requests_fail_at_once_where_no_connection_can_be_opened() -> None:
    async def submit(port: int) -> list[Exchange]:
        done: asyncio.Queue[Exchange] = asyncio.Queue()
        address = Address("127.0.0.1", port, "localhost", "localhost", "/", is_tls=False)
        pool = ConnectionPool(address, done.put_nowait, max_connections=3, reads_answers=False)
        for _ in range(10):
            pool.submit(Exchange((b"never sent",), due_s=0.0))
        finished = [await done.get() for _ in range(10)]
        await pool.close()
        return finished

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        finished = asyncio.run(submit(taken.getsockname()[1]))

    assert [exchange.status for exchange in finished] == [BROKEN] * 10
