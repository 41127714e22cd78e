"""Results as bytes, for stores outside the process."""

import struct

import numpy as np

from bento_service.cache.base import CachedResult
from bento_service.domain.requests import ImageInfo

FORMAT = 1
"""The first byte of every value. Raise it when the rest changes; what another format wrote is then not found."""

_HEADER = struct.Struct("<BIIIH")
"""Format, width and height in pixels, number of classes, bytes of text. Then the text, and the scores as float32."""
_SEPARATOR = "\n"
"""Between the words of the text, which are the image's format and the warnings: neither holds it."""


def encode(result: CachedResult) -> bytes:
    """Write a result as bytes."""
    text = _SEPARATOR.join((result.image.format, *result.warnings)).encode()
    header = _HEADER.pack(FORMAT, result.image.width_px, result.image.height_px, len(result.scores), len(text))
    return header + text + result.scores.astype("<f4", copy=False).tobytes()


def decode(value: bytes) -> CachedResult | None:
    """Read what `encode` wrote, or None where it is of another format or damaged."""
    if len(value) < _HEADER.size:
        return None
    written_format, width_px, height_px, classes, text_bytes = _HEADER.unpack_from(value)
    scores_at = _HEADER.size + text_bytes
    if written_format != FORMAT or len(value) != scores_at + 4 * classes:
        return None
    try:
        image_format, *warnings = value[_HEADER.size : scores_at].decode().split(_SEPARATOR)
    except UnicodeDecodeError:
        return None
    scores = np.frombuffer(value, dtype="<f4", offset=scores_at).astype(np.float32)
    return CachedResult.of(scores, ImageInfo(image_format, width_px, height_px), tuple(warnings))
