import asyncio
import logging

import pytest
from starlette.types import Receive, Scope, Send

from bento_service.http.middleware import RequestIdAndErrors
from tests.http.exchange import Exchange, http_scope


async def explode(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("a defect")


def test_a_path_cannot_write_a_line_of_its_own_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    exchange = Exchange()

    asyncio.run(exchange.run(RequestIdAndErrors(explode), http_scope("GET", "/v1/x\n2026-03-01 ERROR forged")))

    assert exchange.status == 500
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "\n" not in record.getMessage()
    assert r"/v1/x\n2026-03-01 ERROR forged" in record.getMessage()
