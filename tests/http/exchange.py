"""One HTTP exchange at the level of ASGI, for what a well-behaved client never does."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Scope

from bento_service.http.requests.disconnect import DISCONNECT_EXTENSION, DisconnectSignal


def http_scope(method: str, path: str, headers: Mapping[str, str] | None = None, query: str = "") -> Scope:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "state": {},
    }


class Exchange:
    """Feeds an application chunks of a body, then silence; `hang_up` ends the silence with a disconnect.

    With `is_whole` false the last chunk promises more, which never comes. `pulled` counts the chunks taken.
    """

    def __init__(self, chunks: Sequence[bytes] = (b"",), *, is_whole: bool = True) -> None:
        self._chunks = list(chunks)
        self._is_whole = is_whole
        self._hung_up = asyncio.Event()
        self._disconnect = DisconnectSignal()
        self.pulled = 0
        self.waits = asyncio.Event()
        self.sent: list[Message] = []

    def hang_up(self) -> None:
        self._hung_up.set()
        self._disconnect.set()

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        extensions = {DISCONNECT_EXTENSION: {"signal": self._disconnect}}
        await app({**scope, "extensions": extensions}, self.receive, self.send)

    async def receive(self) -> Message:
        if self.pulled < len(self._chunks):
            self.pulled += 1
            is_last = self.pulled == len(self._chunks) and self._is_whole
            return {"type": "http.request", "body": self._chunks[self.pulled - 1], "more_body": not is_last}
        self.waits.set()
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode().lower(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def json(self) -> Any:
        return json.loads(self.body)
