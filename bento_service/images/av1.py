"""Read the frame size from AV1 sequence headers (AV1 Bitstream & Decoding Process Specification, 5.3 to 5.5)."""

from collections.abc import Iterator

MAX_OBUS = 256
"""Most units of a stream that are read; a still picture has three."""
_SEQUENCE_HEADER = 1
_HEADER_BYTES = 512
"""Bytes of a sequence header that are read: the sizes follow at most 32 operating points of up to 11 bytes."""


def read_frame_sizes(stream: memoryview) -> Iterator[tuple[int, int]]:
    """Yield the largest frame width and height in pixels that each sequence header of a stream allows.

    Raises:
        ValueError: The stream is cut off or has more than `MAX_OBUS` units.
    """
    position = 0
    for _ in range(MAX_OBUS):
        if position >= len(stream):
            return
        header = stream[position]
        position += 2 if header & 4 else 1
        size = len(stream) - position
        if header & 2:
            size, position = _read_leb128(stream, position)
        if header >> 3 & 15 == _SEQUENCE_HEADER:
            yield _read_sequence_header(stream[position : position + min(size, _HEADER_BYTES)])
        position += size
    raise ValueError(f"its AV1 stream has more than {MAX_OBUS:,} units")


def _read_leb128(stream: memoryview, position: int) -> tuple[int, int]:
    """Return a number and the position after it."""
    value = 0
    for index in range(8):
        if position >= len(stream):
            break
        byte = stream[position]
        position += 1
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, position
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
            raise ValueError("its AV1 sequence header is cut off")
        return self._value >> self._left & (1 << width) - 1

    def skip_uvlc(self) -> None:
        """Skip a variable-length integer."""
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
