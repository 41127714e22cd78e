"""Read the items of a HEIC or AVIF file from its boxes (ISO/IEC 14496-12, 8.11; ISO/IEC 23008-12)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_BOXES = 1024
"""Most boxes in a row. A phone's 200 megapixels have 822 items; libheif allows 1,000."""
MAX_REFERENCES = 4096
"""Most references between items, in total: each may cost the decoding of a tile."""
MAX_NUMBERS = 65_536
"""Most numbers that are read from the boxes of a file. Those 822 items take 17,000."""
MAX_TRACKS = 16
"""Most tracks. An animation has one, its alpha another."""
_ONCE = frozenset({b"iinf", b"iloc", b"iprp", b"iref", b"pitm", b"idat"})
"""Boxes that `meta` may hold once. Of two, some libraries read the first and others the last."""


class BoxError(ValueError):
    """The boxes contradict each other or end too early."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box's type and where its content starts and ends in the file."""

    kind: bytes
    start: int
    end: int


@dataclass(slots=True)
class Item:
    """One item. `kind_at` is the offset of its type in the file; `extents` are the (start, end) of its data.

    `properties` are the boxes that apply to it, in order. `parts` and `auxiliary` are the ids of the items that it is
    made of, and of those that add to it, such as its alpha plane.
    """

    kind: bytes
    kind_at: int
    properties: list[Box] = field(default_factory=list)
    extents: list[tuple[int, int]] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    auxiliary: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ItemFile:
    """A file's items, by id. `first_samples` has the (start, end) of the first sample of each track."""

    items: dict[int, Item]
    primary_id: int | None
    first_samples: tuple[tuple[int, int], ...]


def walk_boxes(encoded: bytes, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two offsets.

    Raises:
        BoxError: A box is longer than its parent, or there are more than `MAX_BOXES`.
    """
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", encoded, start)
        content = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", encoded, content)
            content += 8
        elif size == 0:
            size = end - start
        if start + size > end or start + size < content:
            raise BoxError(f"its {kind!r} box has {size:,} bytes where {end - start:,} are left")
        yield Box(kind, content, start + size)
        start += size
    raise BoxError(f"it has more than {MAX_BOXES:,} boxes in a row")


def read_items(encoded: bytes) -> ItemFile:
    """Read the items of a file; no pixel is decoded.

    Raises:
        BoxError: The boxes cannot be read.
        struct.error: The boxes are cut off.
    """
    boxes: list[Box] = []
    try:
        for box in walk_boxes(encoded, 0, len(encoded)):
            boxes.append(box)
    except BoxError:
        # Phones append data that are not boxes, such as a motion photo. The decoder reports pixels that are cut off.
        if len(boxes) == MAX_BOXES or not any(box.kind in {b"meta", b"moov"} for box in boxes):
            raise
    metas, movies = ([box for box in boxes if box.kind == kind] for kind in (b"meta", b"moov"))
    if len(metas) > 1:
        raise BoxError("it has two 'meta' boxes, of which decoders take either")
    items, primary_id = _read_meta(encoded, metas[0]) if metas else ({}, None)
    return ItemFile(items, primary_id, tuple(_find_first_samples(encoded, movies)))


def find_properties(encoded: bytes) -> Iterator[Box]:
    """Yield the properties of all items of the first `meta` box; raises as `read_items`."""
    meta = next((box for box in walk_boxes(encoded, 0, len(encoded)) if box.kind == b"meta"), None)
    iprp = None if meta is None else next(_children(encoded, meta, b"iprp", header_bytes=4), None)
    if iprp is not None:
        yield from _walk_properties(encoded, iprp)


def _walk_properties(encoded: bytes, iprp: Box) -> Iterator[Box]:
    ipco = next(_children(encoded, iprp, b"ipco"), None)
    return iter(()) if ipco is None else walk_boxes(encoded, ipco.start, ipco.end)


def _children(encoded: bytes, parent: Box, kind: bytes, *, header_bytes: int = 0) -> Iterator[Box]:
    return (box for box in walk_boxes(encoded, parent.start + header_bytes, parent.end) if box.kind == kind)


class _Reader:
    """Reads integers from one box after the other, at most `MAX_NUMBERS` in all."""

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded
        self._end = 0
        self._left = MAX_NUMBERS
        self.position = 0
        self.version = 0
        self.flags = 0

    def enter(self, box: Box, *, is_full: bool = True) -> None:
        """Go to the start of a box; a full box begins with version and flags."""
        self.position, self._end = box.start, box.end
        if is_full:
            self.version = self.take(1)
            self.flags = self.take(3)

    def take(self, width: int) -> int:
        """Return the next `width` bytes as an integer; 0 for a width of 0."""
        start, self.position = self.position, self.position + width
        self._left -= 1
        if self.position > self._end:
            raise BoxError("one of its boxes ends too early")
        if self._left < 0:
            raise BoxError(f"its boxes hold more than {MAX_NUMBERS:,} numbers")
        return int.from_bytes(self._encoded[start : self.position], "big")


def _find_first_samples(encoded: bytes, movies: list[Box]) -> Iterator[tuple[int, int]]:
    boxes = movies
    for kind in (b"trak", b"mdia", b"minf", b"stbl"):
        if len(boxes) > MAX_TRACKS:
            raise BoxError(f"it has more than {MAX_TRACKS} tracks")
        boxes = [child for box in boxes for child in _children(encoded, box, kind)]
    reader = _Reader(encoded)
    for table in boxes:
        start = size = 0
        for box in walk_boxes(encoded, table.start, table.end):
            reader.enter(box)
            if box.kind == b"stsz":
                size = reader.take(4) or (reader.take(4) and reader.take(4))
            elif box.kind in {b"stco", b"co64"} and reader.take(4):
                start = reader.take(4 if box.kind == b"stco" else 8)
        yield start, start + size


def _read_meta(encoded: bytes, meta: Box) -> tuple[dict[int, Item], int | None]:
    boxes: dict[bytes, Box] = {}
    for box in walk_boxes(encoded, meta.start + 4, meta.end):
        if box.kind in boxes and box.kind in _ONCE:
            raise BoxError(f"it has two {box.kind!r} boxes")
        boxes[box.kind] = box
    reader = _Reader(encoded)
    items = _read_infos(encoded, reader, boxes[b"iinf"]) if b"iinf" in boxes else {}
    if b"iref" in boxes:
        _add_references(encoded, reader, boxes[b"iref"], items)
    if b"iprp" in boxes:
        _add_properties(encoded, reader, boxes[b"iprp"], items)
    if b"iloc" in boxes:
        _add_extents(encoded, reader, boxes[b"iloc"], items, boxes.get(b"idat"))
    primary_id: int | None = None
    if b"pitm" in boxes:
        reader.enter(boxes[b"pitm"])
        primary_id = reader.take(2 if reader.version == 0 else 4)
    return items, primary_id


def _read_infos(encoded: bytes, reader: _Reader, iinf: Box) -> dict[int, Item]:
    items: dict[int, Item] = {}
    reader.enter(iinf)
    reader.take(2 if reader.version == 0 else 4)  # the number of items
    for box in walk_boxes(encoded, reader.position, iinf.end):
        reader.enter(box)
        if box.kind != b"infe" or reader.version < 2:
            continue
        item_id = reader.take(2 if reader.version == 2 else 4)
        reader.take(2)  # the protection's index
        kind_at = reader.position
        kind = reader.take(4).to_bytes(4, "big")
        if item_id in items:
            raise BoxError(f"two of its items have the id {item_id}")
        items[item_id] = Item(kind, kind_at)
    return items


def _add_references(encoded: bytes, reader: _Reader, iref: Box, items: dict[int, Item]) -> None:
    reader.enter(iref)
    id_bytes = 2 if reader.version == 0 else 4
    left = MAX_REFERENCES
    for box in walk_boxes(encoded, reader.position, iref.end):
        reader.enter(box, is_full=False)
        item_id, count = reader.take(id_bytes), reader.take(2)
        left -= count
        if left < 0:
            raise BoxError(f"its items refer to each other more than {MAX_REFERENCES:,} times")
        named = [reader.take(id_bytes) for _ in range(count)]
        if box.kind == b"dimg" and item_id in items:
            items[item_id].parts.extend(named)
        elif box.kind == b"auxl":
            for target in items.keys() & named:
                items[target].auxiliary.append(item_id)


def _add_properties(encoded: bytes, reader: _Reader, iprp: Box, items: dict[int, Item]) -> None:
    properties = list(_walk_properties(encoded, iprp))
    for ipma in _children(encoded, iprp, b"ipma"):
        reader.enter(ipma)
        index_bytes = 2 if reader.flags & 1 else 1
        for _ in range(reader.take(4)):
            item = items.get(reader.take(2 if reader.version == 0 else 4))
            for _ in range(reader.take(1)):
                index = reader.take(index_bytes) & (0x7FFF if index_bytes == 2 else 0x7F)
                if item is not None and 0 < index <= len(properties):
                    item.properties.append(properties[index - 1])


def _add_extents(encoded: bytes, reader: _Reader, iloc: Box, items: dict[int, Item], idat: Box | None) -> None:
    reader.enter(iloc)
    sizes = reader.take(2)
    offset_bytes, length_bytes, base_bytes, index_bytes = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    has_method = reader.version in {1, 2}
    id_bytes = 4 if reader.version == 2 else 2
    for _ in range(reader.take(id_bytes)):
        item = items.get(reader.take(id_bytes))
        method = reader.take(2) & 15 if has_method else 0
        reader.take(2)  # the index of another file, which no decoder opens
        base = reader.take(base_bytes)
        if method == 1 and idat is not None:
            base += idat.start
        for _ in range(reader.take(2)):
            reader.take(index_bytes if has_method else 0)
            start = base + reader.take(offset_bytes)
            length = reader.take(length_bytes)
            if item is not None and method in {0, 1}:
                item.extents.append((start, start + length))
    in_pieces = (item.extents for item in items.values() if len(item.extents) > 1)
    if sum(end - start for extents in in_pieces for start, end in extents) > len(encoded):
        raise BoxError("the pieces that its items lie in are longer than the file")
