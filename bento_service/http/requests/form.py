"""Multipart forms: the files of one field and a few short texts, parsed while they arrive, in memory and bounded."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from multipart import MultipartError, MultipartSegment, PushMultipartParser

from bento_service.errors import InvalidParameterError, LightboxError, MissingImageError
from bento_service.http.requests.body import ByteLease, too_large

MAX_OTHER_PARTS = 32
"""Fields beside the images that a form may have."""
MAX_TEXT_BYTES = 1024
"""Longest text field that is kept: room for any name or number, too little to be charged to the byte budget."""
_MAX_NAME_CHARS = 255
"""Longest filename or field name that is given back."""
_MAX_BOUNDARY_BYTES = 256
_HEADER_CHARSET = "latin1"


@dataclass(frozen=True, slots=True)
class FormFile:
    """One file of a form. `content` is None if it exceeds `limit_bytes`."""

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
    """Parses one multipart body: keeps the files of one field, the texts of named fields, and the names of the others.

    Feed it the body's chunks, cut anywhere, then finish it. `PushMultipartParser` bounds the part headers (8 of 4 kB
    each); this class bounds the number of files, their sizes, the texts and the number of other parts.
    """

    def __init__(
        self,
        boundary: bytes,
        *,
        field: str,
        max_files: int,
        max_file_bytes: int,
        too_many_files: LightboxError,
        lease: ByteLease,
        text_fields: Collection[str] = (),
    ) -> None:
        """Prepare to parse.

        Args:
            boundary: What separates the parts.
            field: The name of the parts that are files.
            max_files: How many of them there may be.
            max_file_bytes: The content of a larger file is not kept.
            too_many_files: Raised for one file too many.
            lease: Takes the bytes of the files.
            text_fields: The names of the parts whose text is kept.

        Raises:
            InvalidParameterError: The boundary is missing or too long.
        """
        self._field = field
        self._max_files = max_files
        self._max_file_bytes = max_file_bytes
        self._too_many_files = too_many_files
        self._lease = lease
        self._text_fields = text_fields
        self._files: list[FormFile] = []
        self._texts: dict[str, bytes] = {}
        self._others_count = 0
        # Of the part that is being parsed: a file, if it has chunks, or a text, if it has a name.
        self._filename: str | None = None
        self._chunks: list[bytes] | None = None
        self._size_bytes = 0
        self._text_name: str | None = None
        if not boundary:
            raise _malformed("the Content-Type names no boundary")
        if len(boundary) > _MAX_BOUNDARY_BYTES:
            raise _malformed(f"its boundary is longer than {_MAX_BOUNDARY_BYTES} bytes")
        # Every byte is a character of Latin-1: names that are not UTF-8 are shown as far as they are.
        self._parser = PushMultipartParser(boundary, header_charset=_HEADER_CHARSET)

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes, at least one.

        Raises:
            InvalidParameterError: The form is malformed, has too many other fields, or too long a text.
            LightboxError: `too_many_files`.
            OverloadedError: The byte budget is spent.
        """
        try:
            for event in self._parser.parse(chunk):
                if isinstance(event, MultipartSegment):
                    self._begin_part(event)
                elif event is None:
                    self._end_part()
                else:
                    self._extend_part(event)
        except MultipartError as error:
            raise _malformed(error.args[0]) from error

    def finish(self) -> tuple[FormFile, ...]:
        """Return the files of the field, in the order in which they came.

        Raises:
            InvalidParameterError: The closing boundary is missing: the form was cut short.
            MissingImageError: The field is not in the form.
        """
        try:
            self._parser.close()
        except MultipartError as error:
            raise _malformed("it ends before its closing boundary") from error
        if not self._files:
            found = ", ".join(f"`{name}`" for name in self._texts) or "none"
            raise MissingImageError(
                f"The form has no field `{self._field}`; its fields: {found}. Send the image in that field."
            )
        return tuple(self._files)

    @property
    def texts(self) -> Mapping[str, str]:
        """The other parts by name; of one that came twice, the last. Only those of `text_fields` have their text."""
        return {name: text.decode("utf-8", errors="replace") for name, text in self._texts.items()}

    def _begin_part(self, part: MultipartSegment) -> None:
        self._text_name = self._chunks = None
        self._size_bytes = 0
        if not part.name:
            raise _malformed("a part has no Content-Disposition with a name")
        name = _decode(part.name)
        if name == self._field:
            if len(self._files) >= self._max_files:
                raise self._too_many_files
            self._filename = None if part.filename is None else _decode(part.filename)
            self._chunks = []
            return
        if self._others_count >= MAX_OTHER_PARTS:
            raise _malformed(f"it has more than {MAX_OTHER_PARTS} fields beside `{self._field}`")
        self._others_count += 1
        self._texts[name] = b""
        if name in self._text_fields:
            self._text_name = name

    def _extend_part(self, data: bytes) -> None:
        if self._text_name is not None:
            self._extend_text(self._text_name, data)
        if self._chunks is None or self._size_bytes > self._max_file_bytes:
            return
        if self._size_bytes + len(data) > self._max_file_bytes:
            self._lease.give_back(self._size_bytes)
            self._chunks.clear()
        else:
            self._lease.take(len(data))
            self._chunks.append(data)
        self._size_bytes += len(data)

    def _extend_text(self, name: str, data: bytes) -> None:
        self._texts[name] += data
        if len(self._texts[name]) > MAX_TEXT_BYTES:
            raise InvalidParameterError(
                f"The form's field `{name}` is longer than the {MAX_TEXT_BYTES} bytes allowed. Send a shorter value.",
                parameter=name,
            )

    def _end_part(self) -> None:
        if self._chunks is not None:
            content = None if self._size_bytes > self._max_file_bytes else b"".join(self._chunks)
            self._files.append(FormFile(self._filename, content, self._max_file_bytes))
            self._chunks = None


def _malformed(reason: str) -> InvalidParameterError:
    return InvalidParameterError(f"The multipart form is malformed: {reason}. Send it as RFC 7578 says.")


def _decode(name: str) -> str:
    return name.encode(_HEADER_CHARSET).decode("utf-8", errors="replace")[:_MAX_NAME_CHARS]
