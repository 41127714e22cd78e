import asyncio
import socket

from bento_service.load_test.address import Address
from bento_service.load_test.connections import ConnectionPool
from bento_service.load_test.exchange import BROKEN, Exchange

PATIENCE_S = 30.0


def test_requests_that_wait_for_a_connection_fail_at_once_where_none_can_be_opened() -> None:
    async def submit(port: int) -> list[Exchange]:
        done: list[Exchange] = []
        all_done = asyncio.Event()

        def note(exchange: Exchange) -> None:
            done.append(exchange)
            if len(done) == 10:
                all_done.set()

        address = Address("127.0.0.1", port, "localhost", "localhost", "/", is_tls=False)
        pool = ConnectionPool(address, note, max_connections=3, reads_answers=False)
        for _ in range(10):
            pool.submit(Exchange((b"never sent",), due_s=0.0))
        async with asyncio.timeout(PATIENCE_S):
            await all_done.wait()
        await pool.close()
        return done

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        done = asyncio.run(submit(taken.getsockname()[1]))

    assert [exchange.status for exchange in done] == [BROKEN] * 10
