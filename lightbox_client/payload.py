"""Images on their way out: whatever the caller has, as bytes with a file name and a media type."""

import mimetypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lightbox_client.errors import UnreadableImageFileError

ImageSource = bytes | str | os.PathLike[str] | BinaryIO
"""Encoded bytes, a path, or an open binary file."""

UNKNOWN_MEDIA_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ImagePayload:
    """One encoded image. `media_type` is guessed from the name and only a hint: the service goes by the bytes."""

    encoded: bytes
    filename: str
    media_type: str


def read_payload(source: ImageSource, *, unnamed: str = "image") -> ImagePayload:
    """Read an image's bytes as they are; nothing is decoded here.

    Args:
        source: Bytes, a path (a string is a path), or a file open for reading in binary, which stays open.
        unnamed: The file name for bytes and files that have none.

    Raises:
        UnreadableImageFileError: The file cannot be read; the message has its path and the reason.
    """
    if isinstance(source, bytes):
        return _payload(source, unnamed)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            return _payload(path.read_bytes(), path.name)
        except OSError as error:
            raise UnreadableImageFileError(path, error.strerror or str(error)) from error
    name = getattr(source, "name", unnamed)
    return _payload(source.read(), Path(name).name if isinstance(name, str) else unnamed)


def _payload(encoded: bytes, filename: str) -> ImagePayload:
    guessed, _ = mimetypes.guess_type(filename, strict=False)
    is_image = guessed is not None and guessed.startswith("image/")
    # Names in a form are UTF-8, and a file's own may be any bytes.
    filename = filename.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return ImagePayload(encoded, filename, guessed if guessed and is_image else UNKNOWN_MEDIA_TYPE)
