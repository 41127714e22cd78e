"""Multipart forms: the files of one field and a few short texts, parsed while they arrive, in memory and bounded."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from bento_service.errors import InvalidParameterError, LightboxError, MissingImageError
from bento_service.http.requests.body import ByteLease, too_large

MAX_OTHER_PARTS = 32
"""Fields beside the images that a form may have."""
MAX_TEXT_BYTES = 1024
"""Longest text field that is kept: room for any name or number, too little to be charged to the byte budget."""
MAX_NAME_CHARS = 255
"""Longest filename or field name that is given back."""


@dataclass(frozen=True, slots=True)
class FormFile:
    """One file of a form. `content` is None where it passed `limit_bytes`; its bytes were not kept."""

    filename: str | None
    content: bytes | None
    limit_bytes: int

    def require_content(self) -> bytes:
        """Return the file's bytes.

        Raises:
            ImageTooLargeError: It has too many.
            MissingImageError: It has none, or is a text.
        """
        if self.content is None:
            raise too_large(self.limit_bytes)
        if not self.content:
            raise MissingImageError("The file is empty. Send an image's bytes.")
        if self.filename is None and self.content.isascii():
            raise MissingImageError(
                "The image's field holds a text. Send the image itself as a file: paths are not opened, addresses not "
                "fetched, and base64 not decoded."
            )
        return self.content


class ImageForm:
    """A parser of one multipart body, which keeps the files of one field, the named texts, and the rest by name only.

    Feed it chunks as they come, cut anywhere, then finish it. The library's parser bounds the part headers
    (8 of 4 kB each); this class bounds the number of files, their sizes, the texts and the number of other parts.
    """

    def __init__(
        self,
        boundary: bytes,
        *,
        field: str,
        max_files: int,
        max_file_bytes: int,
        too_many_files: Callable[[], LightboxError],
        lease: ByteLease,
        text_fields: Collection[str] = (),
    ) -> None:
        """Prepare to parse.

        Args:
            boundary: What separates the parts.
            field: The name of the parts that are files.
            max_files: How many of them there may be.
            max_file_bytes: Above it a file is not kept; its neighbours are.
            too_many_files: Makes the error for one file too many.
            lease: Pays for the files.
            text_fields: The names of the parts whose text is kept.

        Raises:
            InvalidParameterError: The boundary is missing or too long.
        """
        self._field = field.encode()
        self._max_files = max_files
        self._max_file_bytes = max_file_bytes
        self._too_many_files = too_many_files
        self._lease = lease
        self._files: list[FormFile] = []
        self._text_fields = frozenset(text_fields)
        self._texts: dict[str, bytes] = {}
        self._others_count = 0
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._filename: str | None = None
        self._text_name: str | None = None
        self._chunks: list[memoryview] | None = None
        self._size_bytes = 0
        self._has_ended = False
        self._parser = self._open_parser(boundary)

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes.

        Raises:
            InvalidParameterError: The form is malformed, has too many other fields, or too long a text.
            TooManyImagesError: Or whatever `too_many_files` makes.
            OverloadedError: The byte budget is spent.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def finish(self) -> tuple[FormFile, ...]:
        """Return the files of the field, in the order in which they came.

        Raises:
            InvalidParameterError: The closing boundary is missing: the form was cut short.
            MissingImageError: The field is not in the form.
        """
        if not self._has_ended:
            raise _malformed("it ends before its closing boundary")
        if not self._files:
            found = ", ".join(f"`{name}`" for name in self._texts) or "none"
            raise MissingImageError(
                f"The form has no field `{self._field.decode()}`; its fields: {found}. Send the image in that field."
            )
        return tuple(self._files)

    @property
    def texts(self) -> Mapping[str, str]:
        """The other parts by name; of one that came twice, the last. Only those of `text_fields` have their text."""
        return {name: text.decode("utf-8", errors="replace") for name, text in self._texts.items()}

    def _open_parser(self, boundary: bytes) -> MultipartParser:
        if not boundary:
            raise _malformed("the Content-Type names no boundary")
        try:
            parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._extend_header_name,
                    "on_header_value": self._extend_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._extend_content,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _malformed(str(error)) from error
        # The library logs a warning for each malformed byte, which would let any client fill the log.
        parser.logger = logging.Logger("unheard", level=logging.CRITICAL)
        return parser

    def _begin_part(self) -> None:
        self._disposition = b""
        self._filename = None
        self._text_name = None
        self._chunks = None
        self._size_bytes = 0

    def _extend_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _extend_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name")
        if name is None:
            raise _malformed("a part has no Content-Disposition with a name")
        if name != self._field:
            self._begin_other(_decode(name))
            return
        if len(self._files) >= self._max_files:
            raise self._too_many_files()
        filename = options.get(b"filename")
        self._filename = None if filename is None else _decode(filename)
        self._chunks = []

    def _begin_other(self, name: str) -> None:
        if self._others_count >= MAX_OTHER_PARTS:
            raise _malformed(f"it has more than {MAX_OTHER_PARTS} fields beside `{self._field.decode()}`")
        self._others_count += 1
        self._texts[name] = b""
        if name in self._text_fields:
            self._text_name = name

    def _extend_content(self, data: bytes, start: int, end: int) -> None:
        if self._text_name is not None:
            self._extend_text(self._text_name, data[start:end])
        if self._chunks is None or self._size_bytes > self._max_file_bytes:
            return
        count = end - start
        if self._size_bytes + count > self._max_file_bytes:
            self._lease.give_back(self._size_bytes)
            self._chunks.clear()
        else:
            self._lease.take(count)
            self._chunks.append(memoryview(data)[start:end])  # copied once, as the part ends
        self._size_bytes += count

    def _extend_text(self, name: str, data: bytes) -> None:
        text = self._texts[name] + data
        if len(text) > MAX_TEXT_BYTES:
            raise InvalidParameterError(
                f"The form's field `{name}` is longer than the {MAX_TEXT_BYTES} bytes allowed. Send a shorter value.",
                parameter=name,
            )
        self._texts[name] = text

    def _end_part(self) -> None:
        if self._chunks is None:
            return
        is_too_large = self._size_bytes > self._max_file_bytes
        content = None if is_too_large else b"".join(self._chunks)
        self._files.append(FormFile(self._filename, content, self._max_file_bytes))
        self._chunks = None

    def _end(self) -> None:
        self._has_ended = True


def _decode(name: bytes) -> str:
    return name.decode("utf-8", errors="replace")[:MAX_NAME_CHARS]


def _malformed(reason: str) -> InvalidParameterError:
    return InvalidParameterError(f"The multipart form is malformed: {reason}. Send it as RFC 7578 says.")
