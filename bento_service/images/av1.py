"""Read the frame size from AV1 sequence headers (AV1 Bitstream & Decoding Process Specification, 5.3 to 5.5)."""

from collections.abc import Iterator

MAX_OBUS = 256
"""Most units of a stream that are read; a still picture has three."""
_SEQUENCE_HEADER = 1
_UNIT_HEADER_BYTES = 10
_SEQUENCE_HEADER_BYTES = 512
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
        bits = _Bits(stream[position : position + _UNIT_HEADER_BYTES])
        bits.take(1)
        kind, has_extension, has_size = bits.take(4), bits.take(1), bits.take(1)
        bits.take(9 if has_extension else 1)
        size = bits.take_leb128() if has_size else len(stream)
        position += bits.position // 8
        if kind == _SEQUENCE_HEADER:
            yield _read_sequence_header(stream[position : position + min(size, _SEQUENCE_HEADER_BYTES)])
        position += size
    raise ValueError(f"its AV1 stream has more than {MAX_OBUS:,} units")


class _Bits:
    """Reads integers of any bit width."""

    def __init__(self, data: memoryview) -> None:
        self._value = int.from_bytes(data, "big")
        self._size = 8 * len(data)
        self.position = 0

    def take(self, width: int) -> int:
        """Return the next `width` bits as an integer."""
        self.position += width
        if self.position > self._size:
            raise ValueError("its AV1 stream is cut off")
        return self._value >> self._size - self.position & (1 << width) - 1

    def take_leb128(self) -> int:
        """Return the next integer of 1 to 8 bytes, least significant byte first (4.10.5)."""
        value = 0
        for shift in range(0, 56, 7):
            is_continued = self.take(1)
            value |= self.take(7) << shift
            if not is_continued:
                return value
        raise ValueError("its AV1 stream has a unit of impossible size")

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
