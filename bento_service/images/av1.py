"""Read the frame size from AV1 sequence headers (AV1 Bitstream & Decoding Process Specification, 5.3 to 5.5)."""

from collections.abc import Iterator

MAX_UNITS = 8_192
"""Most units of a file that are read. A still picture has three; a grid has two or three for each of its tiles."""
_SEQUENCE_HEADER = 1
_SEQUENCE_HEADER_BYTES = 512
"""Bytes of a sequence header that are read: the sizes follow at most 32 operating points of up to 11 bytes."""


def read_frame_sizes(stream: memoryview, units: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Yield the largest frame width and height in pixels that each sequence header of a stream allows.

    `units` limits the units that are read, of several streams together: one number is taken from it for each.

    Raises:
        ValueError: The stream is cut off, or `units` is at its end.
    """
    position = 0
    while position < len(stream):
        if next(units, None) is None:
            raise ValueError(f"its AV1 streams have more than {MAX_UNITS:,} units")
        header = stream[position]
        position += 2 if header & 4 else 1
        size = len(stream) - position
        if header & 2:
            size, position = _read_leb128(stream, position)
        if header >> 3 & 15 == _SEQUENCE_HEADER:
            yield _read_sequence_header(stream[position : position + min(size, _SEQUENCE_HEADER_BYTES)])
        position += size


def _read_leb128(stream: memoryview, position: int) -> tuple[int, int]:
    """Return the integer at a position, least significant byte first (4.10.5), and the position after it."""
    value = 0
    for index, byte in enumerate(stream[position : position + 8]):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, position + index + 1
    raise ValueError("its AV1 stream is cut off")


class _Bits:
    """Reads integers of any bit width."""

    def __init__(self, data: memoryview) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, width: int) -> int:
        """Return the next `width` bits as an integer."""
        self._left -= width
        if self._left < 0:
            raise ValueError("its AV1 stream is cut off")
        return self._value >> self._left & (1 << width) - 1

    def skip_uvlc(self) -> None:
        """Skip a variable-length integer (4.10.3)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        self.take(zeros if zeros < 32 else 0)


def _read_sequence_header(data: memoryview) -> tuple[int, int]:
    bits = _Bits(data)
    bits.take(4)  # profile, still picture
    if bits.take(1):  # a reduced header, as a still picture's
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            bits.skip_uvlc()
        if bits.take(1):  # decoder model
            delay_bits = bits.take(5) + 1
            bits.take(42)
    has_display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:  # a level that has tiers
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_display_delay and bits.take(1):
            bits.take(4)
