"""A server that answers as a test says, byte by byte: over keep-alive, late, wrongly or never."""

import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import cast

CLOSE = None
"""Instead of an answer: close the connection."""
HANG = b""
"""Instead of an answer: nothing, until the server stops."""

Script = Callable[[int], bytes | None]


def answer(status: int = 200, body: bytes = b"{}", *headers: str) -> bytes:
    """An answer that keeps its connection."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class ScriptedServer:
    """Answers request number n, from 0, with `script(n)`; closes after each answer if `is_closing`, without a word."""

    script: Script
    is_closing: bool = False
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1/classify?top_k=1"

    def __enter__(self) -> "ScriptedServer":
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, scripted: ScriptedServer) -> None:
        self.scripted = scripted
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        scripted = cast("_Server", self.server).scripted
        is_counted = False
        try:
            while head := self._read_head():
                body = self.rfile.read(_length(head))
                with scripted.lock:
                    scripted.connections += not is_counted
                    number = len(scripted.bodies)
                    scripted.heads.append(head)
                    scripted.bodies.append(body)
                is_counted = True
                reply = scripted.script(number)
                if reply is CLOSE:
                    return
                if reply == HANG:
                    scripted.released.wait()
                    return
                self.wfile.write(reply)
                if scripted.is_closing:
                    return
        except ConnectionError:
            """The client gave up, which is what some tests are about."""

    def _read_head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return b""
            head += line
        return head


def _length(head: bytes) -> int:
    lines = (line.partition(b":") for line in head.splitlines())
    return next((int(value) for name, _, value in lines if name.lower() == b"content-length"), 0)
