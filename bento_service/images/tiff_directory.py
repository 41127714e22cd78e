"""Read TIFF and BigTIFF directories, find the picture among them, and write a new directory for its pixels."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final

from PIL.ExifTags import Base as Tag

from bento_service.errors import UndecodableImageError

MAX_DIRECTORIES: Final = 8
"""Most pages, and most subdirectories, that are read."""
MAX_ENTRIES: Final = 512
"""Most tags of a directory; a camera's has about a hundred."""
MAX_NUMBERS: Final = 1 << 20
"""Most values of a tag: five times the tiles of 16 x 16 in 50 megapixels."""

_MAX_LONG: Final = (1 << 32) - 1
_PLAIN_TIFF, _LONG = 42, 4
_BIG_INTEGERS: Final = frozenset({16, 17, 18})
_SUBFILE_TYPE_OLD, _SUB_DIRECTORIES = 255, 330
_IS_REDUCED, _IS_MASK, _IS_REDUCED_OLD = 1, 4, 2
_SIZES: Final[Mapping[int, int]] = {
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16, 17, 18), 8),
}
"""Bytes of a value by type (TIFF 6.0, section 2; BigTIFF adds 16 to 18)."""
_INTEGERS: Final[Mapping[int, str]] = {
    **{1: "B", 6: "b", 3: "H", 8: "h", 4: "I", 9: "i", 13: "I"},
    **{16: "Q", 17: "q", 18: "Q"},
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tag's type, the number of its values, and their offset in the file."""

    kind: int
    count: int
    place: int

    @property
    def size_bytes(self) -> int:
        """Bytes of all values."""
        return self.count * _SIZES[self.kind]


@dataclass(frozen=True, slots=True)
class Directory:
    """One image's tags of known types. `damaged` are tags whose values lie outside the file."""

    encoded: bytes
    offset: int
    order: str
    entries: Mapping[int, Entry]
    damaged: frozenset[int]
    next_offset: int

    @property
    def is_picture(self) -> bool:
        """Whether this is a full-size picture, not a reduced image or a mask (tags 254 and 255)."""
        if Tag.NewSubfileType in self.entries:
            return not self.number(Tag.NewSubfileType, 0) & (_IS_REDUCED | _IS_MASK)
        return self.number(_SUBFILE_TYPE_OLD, 1) != _IS_REDUCED_OLD

    @property
    def is_tiled(self) -> bool:
        """Whether the pixels are in tiles, not strips."""
        return Tag.TileWidth in self.entries

    @property
    def block_tags(self) -> tuple[int, int]:
        """The tags with the offsets and byte counts of strips or tiles."""
        return (Tag.TileOffsets, Tag.TileByteCounts) if self.is_tiled else (Tag.StripOffsets, Tag.StripByteCounts)

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return a tag's integers; `default` where it is missing, damaged or of another type.

        Raises:
            UndecodableImageError: There are more than `MAX_NUMBERS`.
        """
        entry = self.entries.get(tag)
        if entry is not None and entry.count > MAX_NUMBERS:
            raise UndecodableImageError(
                f"The TIFF's tag {tag} has {entry.count:,} values; {MAX_NUMBERS:,} are allowed; export it again."
            )
        return self._read(entry, MAX_NUMBERS) or default

    def number(self, tag: int, default: int) -> int:
        """Return a tag's first integer; `default` as in `numbers`."""
        return (self._read(self.entries.get(tag), 1) or (default,))[0]

    def _read(self, entry: Entry | None, most: int) -> tuple[int, ...]:
        if entry is None or entry.kind not in _INTEGERS:
            return ()
        code = f"{self.order}{min(entry.count, most)}{_INTEGERS[entry.kind]}"
        return struct.unpack_from(code, self.encoded, entry.place)

    def data(self, tag: int) -> bytes:
        """Return a tag's raw values; empty where it is missing or damaged."""
        entry = self.entries.get(tag)
        return b"" if entry is None else self.encoded[entry.place : entry.place + entry.size_bytes]


def find_picture(encoded: bytes) -> Directory:
    """Find the first full-size picture; where there is none, return the first directory.

    A camera's file may begin with a thumbnail and have the picture in a subdirectory (DNG, NEF) or on a later page.

    Raises:
        UndecodableImageError: The first directory is damaged.
    """
    first = _read_directory(encoded)
    if first.is_picture:
        return first
    subdirectories = (_try_to_read(encoded, offset) for offset in first.numbers(_SUB_DIRECTORIES)[:MAX_DIRECTORIES])
    candidates = chain(filter(None, subdirectories), _walk_pages(first))
    return next((found for found in candidates if found.is_picture), first)


def has_several_pages(encoded: bytes) -> bool:
    """Whether more than one page is a full-size picture."""
    return sum(page.is_picture for page in _walk_pages(_read_directory(encoded))) > 1


def _walk_pages(first: Directory) -> Iterator[Directory]:
    """Yield the pages up to the first unreadable one."""
    page: Directory | None = first
    seen = {0}
    while page is not None and len(seen) <= MAX_DIRECTORIES:
        yield page
        seen.add(page.offset)
        page = None if page.next_offset in seen else _try_to_read(first.encoded, page.next_offset)


def _try_to_read(encoded: bytes, offset: int) -> Directory | None:
    try:
        return _read_directory(encoded, offset)
    except UndecodableImageError:
        return None


def _read_directory(encoded: bytes, offset: int | None = None) -> Directory:
    """Read the directory at a byte offset, or the first one.

    Raises:
        UndecodableImageError: It lies outside the file, or has more than `MAX_ENTRIES` tags.
    """
    order, is_big = ("<" if encoded.startswith(b"II") else ">"), encoded[2:4] in {b"+\0", b"\0+"}
    count_code, entry_code, inline_bytes = ("Q", "HHQ", 8) if is_big else ("H", "HHI", 4)
    entry_bytes, pointer = 4 + 2 * inline_bytes, order + ("Q" if is_big else "I")
    entries: dict[int, Entry] = {}
    damaged = set()
    try:
        if offset is None:
            (offset,) = struct.unpack_from(pointer, encoded, inline_bytes)
        (count,) = struct.unpack_from(order + count_code, encoded, offset)
        if count > MAX_ENTRIES:
            raise UndecodableImageError(
                f"The TIFF's directory has {count:,} tags; {MAX_ENTRIES:,} are allowed; export it again."
            )
        start = offset + struct.calcsize(count_code)
        for position in range(start, start + count * entry_bytes, entry_bytes):
            tag, kind, values = struct.unpack_from(order + entry_code, encoded, position)
            if kind not in _SIZES or tag in entries:
                continue
            place = position + entry_bytes - inline_bytes
            size_bytes = values * _SIZES[kind]
            if size_bytes > inline_bytes:
                (place,) = struct.unpack_from(pointer, encoded, place)
            if place + size_bytes > len(encoded):
                damaged.add(tag)
            else:
                entries[tag] = Entry(kind, values, place)
        (next_offset,) = struct.unpack_from(pointer, encoded, start + count * entry_bytes)
    except (struct.error, OverflowError) as error:
        raise UndecodableImageError(
            "The TIFF is truncated or corrupt: one of its directories lies outside the file; send the whole file."
        ) from error
    return Directory(encoded, offset, order, entries, frozenset(damaged), next_offset)


def write_directory(directory: Directory, kept: frozenset[int], changes: Mapping[int, tuple[int, ...]]) -> bytes:
    """Return the file with one new directory: the tags in `kept` unchanged, and `changes`.

    The new directory is appended, so that the offsets of the pixels stay valid. A BigTIFF becomes a plain TIFF: Pillow
    reads no big-endian BigTIFF, and no file within the size limit needs 64-bit offsets.

    Raises:
        UndecodableImageError: The kept tags overlap and have more bytes than the file, or a value exceeds 32 bits.
    """
    order = directory.order
    entries_kept = {tag: directory.entries[tag] for tag in kept & directory.entries.keys()}
    if sum(entry.size_bytes for entry in entries_kept.values()) > len(directory.encoded):
        raise UndecodableImageError("The TIFF's tags overlap: they hold more bytes than the file; export it again.")
    packed = {tag: (entry.kind, entry.count, directory.data(tag)) for tag, entry in entries_kept.items()}
    big = {tag: directory.numbers(tag) for tag, entry in entries_kept.items() if entry.kind in _BIG_INTEGERS}
    for tag, numbers in {**big, **changes}.items():
        if max(numbers) > _MAX_LONG:
            raise UndecodableImageError(f"The TIFF is corrupt: its tag {tag} is {max(numbers):,}; export it again.")
        packed[tag] = _LONG, len(numbers), struct.pack(f"{order}{len(numbers)}I", *numbers)
    start = len(directory.encoded) + len(directory.encoded) % 2
    values_at = start + 2 + 12 * len(packed) + 4
    entries, values = b"", b""
    for tag, (kind, count, data) in sorted(packed.items()):
        inline = data if len(data) <= 4 else struct.pack(order + "I", values_at + len(values))
        entries += struct.pack(order + "HHI", tag, kind, count) + inline.ljust(4, b"\0")
        values += data if len(data) > 4 else b""
    header = directory.encoded[:2] + struct.pack(order + "HI", _PLAIN_TIFF, start)
    pixels = directory.encoded[8:] + bytes(start - len(directory.encoded))
    return b"".join([header, pixels, struct.pack(order + "H", len(packed)), entries, bytes(4), values])
