"""A server that answers as a test says, byte by byte: over keep-alive, late, wrongly or never."""

import socketserver
import threading
from collections.abc import Callable
from typing import cast

CLOSE = None
"""Instead of an answer: close the connection."""
HANG = b""
"""Instead of an answer: nothing, until the server stops."""


def answer(status: int = 200, body: bytes = b"{}", *headers: str) -> bytes:
    """An answer that keeps its connection."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class ScriptedServer(socketserver.ThreadingTCPServer):
    """Answers request number n, from 0, with `script(n)`; where `is_closing`, closes the connection after each."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, script: Callable[[int], bytes | None], *, is_closing: bool = False) -> None:
        self.script = script
        self.is_closing = is_closing
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.released = threading.Event()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/classify?top_k=1"

    def __enter__(self) -> "ScriptedServer":
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = cast("ScriptedServer", self.server)
        is_counted = False
        try:
            while head := self._read_head():
                lengths = [line for line in head.splitlines() if line.lower().startswith(b"content-length:")]
                body = self.rfile.read(int(lengths[0].partition(b":")[2]))
                with server.lock:
                    server.connections += not is_counted
                    number = len(server.bodies)
                    server.heads.append(head)
                    server.bodies.append(body)
                is_counted = True
                reply = server.script(number)
                if reply == HANG:
                    server.released.wait()
                if not reply:
                    return
                self.wfile.write(reply)
                if server.is_closing:
                    return
        except ConnectionError:
            """The client gave up, which is what some tests are about."""

    def _read_head(self) -> bytes:
        """Return the lines before the empty one; nothing once the client has closed the connection."""
        lines: list[bytes] = []
        while (line := self.rfile.readline()) not in (b"", b"\r\n"):
            lines.append(line)
        return b"".join(lines)
