"""HEIC and AVIF files put together from coded pictures, as phones and attackers write them."""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from PIL import Image

from bento_service.images.isobmff import read_items
from tests.unit.images.encodings import RECORDED

Property = tuple[bytes, bytes]


@dataclass(frozen=True)
class Part:
    """One item: its type, data, properties, and what it refers to, by reference type."""

    kind: bytes
    data: bytes
    properties: tuple[Property, ...]
    references: dict[bytes, list[int]] = field(default_factory=dict)

    def having(self, *properties: Property) -> "Part":
        """The same with further properties; they replace those of the same type."""
        kept = [own for own in self.properties if own[0] not in {name for name, _ in properties}]
        return replace(self, properties=(*kept, *properties))

    def size(self, width_px: int, height_px: int) -> "Part":
        return self.having((b"ispe", struct.pack(">III", 0, width_px, height_px)))


def take_apart(encoded: bytes, *, keep: Sequence[bytes] = (b"hvcC", b"av1C", b"ispe", b"pixi", b"colr")) -> Part:
    """The primary picture of a file that holds one coded picture."""
    file = read_items(encoded)
    item = file.items[file.primary_id or 0]
    data = b"".join(encoded[start:end] for start, end in item.extents)
    properties = ((box.kind, encoded[box.start : box.end]) for box in item.properties if box.kind in keep)
    return Part(item.kind, data, tuple(properties))


@cache
def recorded(name: str = "colour_8.heic") -> bytes:
    return (RECORDED / name).read_bytes()


def reference(name: str) -> Image.Image:
    """What the other program shows of a recorded picture."""
    with Image.open((RECORDED / name).with_suffix(".png")) as image:
        image.load()
    return image


def grid(rows: int, columns: int, width_px: int, height_px: int, tiles: list[int]) -> Part:
    """A picture made of tiles, given by their ids in the file."""
    data = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width_px, height_px)
    pixi = (b"pixi", struct.pack(">IBBBB", 0, 3, 8, 8, 8))
    return Part(b"grid", data, (pixi,), {b"dimg": tiles}).size(width_px, height_px)


def rotated(quarters: int) -> Property:
    """Turned against the clock."""
    return b"irot", bytes([quarters])


def mirrored(axis: int) -> Property:
    """0: top becomes bottom; 1: left becomes right."""
    return b"imir", bytes([axis])


def put_together(brand: bytes, parts: Sequence[Part], *, primary: int = 1, further: bytes = b"") -> bytes:
    """A file of these items, with ids from 1 on; `further` boxes stand behind them."""
    ftyp = _box(b"ftyp", brand + bytes(4) + brand + b"mif1" + b"miaf")
    meta_bytes = len(_meta(parts, primary, 0))
    mdat = _box(b"mdat", b"".join(part.data for part in parts))
    return ftyp + _meta(parts, primary, len(ftyp) + meta_bytes + 8) + mdat + further


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _full_box(kind: bytes, content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags) + content)


def _meta(parts: Sequence[Part], primary: int, data_at: int) -> bytes:
    infos, places, links, associations = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    properties: list[Property] = []
    for number, part in enumerate(parts, start=1):
        is_hidden = any(number in other.references.get(b"dimg", ()) for other in parts)
        infos.write(_full_box(b"infe", struct.pack(">HH", number, 0) + part.kind + b"\0", version=2, flags=is_hidden))
        places.write(struct.pack(">HHHII", number, 0, 1, data_at, len(part.data)))
        data_at += len(part.data)
        for kind, named in part.references.items():
            links.write(_box(kind, struct.pack(f">HH{len(named)}H", number, len(named), *named)))
        associations.write(struct.pack(">HB", number, len(part.properties)))
        for one in part.properties:
            if one not in properties:
                properties.append(one)
            is_essential = one[0] in {b"hvcC", b"av1C", b"irot", b"imir", b"clap"}
            associations.write(struct.pack(">H", properties.index(one) + 1 | is_essential << 15))
    ipco = _box(b"ipco", b"".join(_box(kind, content) for kind, content in properties))
    ipma = _full_box(b"ipma", struct.pack(">I", len(parts)) + associations.getvalue(), flags=1)
    return _full_box(
        b"meta",
        _full_box(b"hdlr", bytes(4) + b"pict" + bytes(13))
        + _full_box(b"pitm", struct.pack(">H", primary))
        + _full_box(b"iloc", struct.pack(">HH", 0x4400, len(parts)) + places.getvalue())
        + _full_box(b"iinf", struct.pack(">H", len(parts)) + infos.getvalue())
        + (_full_box(b"iref", links.getvalue()) if links.getvalue() else b"")
        + _box(b"iprp", ipco + ipma),
    )
