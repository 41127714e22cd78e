"""Cut what follows the last loaded segment from ELF libraries: debug information, which nothing loads.

`python strip_debug.py FOLDER ...`; `strip` of binutils does the same, and the base image does not have it.
"""

import struct
import sys
from pathlib import Path

_LEAST_BYTES = 100_000
"""Smaller ones are not worth it."""
_LOADED = 1
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")


def strip(path: Path) -> None:
    """Shorten one library for a 64-bit machine; leave any other file as it is."""
    with path.open("r+b") as library:
        magic, *fields = _HEADER.unpack(library.read(_HEADER.size))
        if not magic.startswith(b"\x7fELF\x02\x01"):
            return
        first, entry_bytes, count = fields[4], fields[8], fields[9]
        end = first + entry_bytes * count
        library.seek(first)
        for _ in range(count):
            kind, _, offset, _, _, size, _, _ = _SEGMENT.unpack(library.read(entry_bytes))
            if kind == _LOADED:
                end = max(end, offset + size)
        # The table of sections, which is cut too, then has no place, no entries and no names.
        fields[5] = fields[11] = fields[12] = 0
        library.seek(0)
        library.write(_HEADER.pack(magic, *fields))
        library.truncate(end)


for path in (found for folder in sys.argv[1:] for found in Path(folder).rglob("*.so")):
    if path.stat().st_size > _LEAST_BYTES:
        strip(path)
