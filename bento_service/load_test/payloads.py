"""The bytes of the requests, made ready before the first is sent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle

import numpy as np

from bento_service.load_test.address import Address

RUN_BYTES = 8
SERIAL_BYTES = 4


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What every request of a load shares.

    `timeout_s` counts from when a request is due. `reads_answers` reads the timings in Lightbox's answers.
    `makes_unique` ends each body with a serial number, so that no cache knows it: decoders stop at the end of the
    image and never see it. `max_connections` bounds an open loop.
    """

    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 30.0
    max_connections: int = 512
    reads_answers: bool = False
    makes_unique: bool = False


DEFAULT_OPTIONS = LoadOptions()


def prepare_payloads(address: Address, bodies: Sequence[bytes], options: LoadOptions) -> Iterator[tuple[bytes, ...]]:
    """Yield the requests in turn, without end, as the pieces that are written; no body is copied."""
    requests = [(_head(address, len(body), options), body) for body in bodies]
    return _number(requests) if options.makes_unique else cycle(requests)


def _number(requests: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, ...]]:
    # Random, so that no run finds another one's answers in the cache.
    run = np.random.default_rng().bytes(RUN_BYTES)
    for (head, body), serial in zip(cycle(requests), count(), strict=False):
        yield head, body, run, serial.to_bytes(SERIAL_BYTES, "big")


def _head(address: Address, body_bytes: int, options: LoadOptions) -> bytes:
    length = body_bytes + (RUN_BYTES + SERIAL_BYTES if options.makes_unique else 0)
    fields = {
        "Host": address.authority,
        "User-Agent": "lightbox-bench",
        "Accept": "*/*",
        "Content-Type": options.content_type,
        "Content-Length": str(length),
        **options.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {address.target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
