"""Images as they are sent: encoded bytes with a file name and a media type, from what the caller has."""

import io
import mimetypes
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeGuard

from lightbox_client.errors import UnreadableImageFileError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

ImageSource: TypeAlias = (
    "bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO | NDArray[np.uint8] | Image.Image"
)
"""Encoded bytes, a path, an open binary file, or pixels: a numpy array or a Pillow image."""

UNKNOWN_MEDIA_TYPE = "application/octet-stream"
_TAKEN = (
    "An image is encoded bytes (bytes, bytearray or memoryview), a path, a file open for reading in binary, a numpy "
    "array of uint8 with the shape (height, width, 3) in RGB or (height, width) in grey, or a Pillow image"
)
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""The modes of Pillow that PNG stores without a conversion."""


@dataclass(frozen=True, slots=True)
class ImagePayload:
    """One encoded image. `media_type` is guessed from the name, as a hint: the service goes by the bytes."""

    encoded: bytes
    filename: str
    media_type: str


def read_payload(source: ImageSource, *, unnamed: str = "image") -> ImagePayload:
    """Read an image's bytes unchanged; encode pixels as PNG, without loss.

    A Pillow image is turned upright where its EXIF data says so, as the service does with a file. Pillow is imported
    only for pixels, numpy never.

    Args:
        source: Bytes, a path (a string is a path), a file open for reading in binary, which stays open, or pixels.
        unnamed: The file name for an image that has none.

    Raises:
        UnreadableImageFileError: The file cannot be read; the message has its path and the reason.
        TypeError: The source is none of these; the message names them.
        ValueError: The array or the Pillow image is none that is taken; the message names those that are.
        ImportError: An array needs Pillow, and there is none.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return _payload(bytes(source), unnamed)
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source))
    if _is_array(source):
        return ImagePayload(_encode_array(source), f"{unnamed}.png", "image/png")
    if _is_picture(source):
        return ImagePayload(_encode_picture(source), f"{unnamed}.png", "image/png")
    if not _is_file(source) or isinstance(source, io.TextIOBase):
        raise TypeError(f"{_TAKEN}; this is {type(source).__name__}.")
    content = source.read()
    if not isinstance(content, bytes):
        raise TypeError(f"{_TAKEN}; this file gives {type(content).__name__}.")
    name = getattr(source, "name", unnamed)
    return _payload(content, Path(name).name if isinstance(name, str) else unnamed)


def is_one_image(source: object) -> bool:
    """Whether `read_payload` takes this as one image, though it may be iterable as well, as a string is."""
    if _is_array(source):
        return source.ndim <= 3
    is_plain = isinstance(source, bytes | bytearray | memoryview | str | os.PathLike)
    return is_plain or _is_file(source) or _is_picture(source)


def _is_array(source: object) -> "TypeGuard[NDArray[Any]]":
    numpy = sys.modules.get("numpy")  # an array cannot exist before it is imported
    return numpy is not None and isinstance(source, numpy.ndarray)


def _is_picture(source: object) -> "TypeGuard[Image.Image]":
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(source, pillow.Image)


def _is_file(source: object) -> TypeGuard[BinaryIO]:
    return callable(getattr(source, "read", None))


def _read_file(path: Path) -> ImagePayload:
    try:
        return _payload(path.read_bytes(), path.name)
    except OSError as error:
        raise UnreadableImageFileError(path, error.strerror or str(error)) from error
    except ValueError as error:  # a NUL in the path
        raise UnreadableImageFileError(path, str(error)) from error


def _encode_array(array: "NDArray[Any]") -> bytes:
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if array.dtype != "uint8" or not is_image or not array.size:
        raise ValueError(f"{_TAKEN}; this array is {array.dtype} with the shape {array.shape}.")
    try:
        from PIL import Image  # noqa: PLC0415 - the client works without it
    except ImportError as error:
        raise ImportError("An array is sent as PNG, which takes Pillow: pip install pillow") from error
    return _encode_picture(Image.fromarray(array))


def _encode_picture(picture: "Image.Image") -> bytes:
    from PIL import ImageOps  # noqa: PLC0415 - the client works without it

    if picture.mode not in _PNG_MODES or not picture.width or not picture.height:
        raise ValueError(
            f"A Pillow image is sent as PNG, which takes the modes {', '.join(_PNG_MODES)}; this one is {picture.mode} "
            f"with {picture.width} x {picture.height} px. Convert it first: image.convert('RGB')."
        )
    stream = io.BytesIO()
    ImageOps.exif_transpose(picture).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _payload(encoded: bytes, filename: str) -> ImagePayload:
    guessed, _ = mimetypes.guess_type(filename, strict=False)
    is_image = guessed is not None and guessed.startswith("image/")
    # Names in a form are UTF-8, and a file's own may be any bytes.
    filename = filename.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return ImagePayload(encoded, filename, guessed if guessed and is_image else UNKNOWN_MEDIA_TYPE)
