"""The images that a request carries: one, as raw body or form field, or many, as a form."""

from collections.abc import Collection, Mapping
from email.message import Message

from starlette.requests import Request

from bento_service.errors import InvalidParameterError, MissingImageError, TooManyImagesError
from bento_service.http.requests.body import ByteLease, limit_time, receive_chunks
from bento_service.http.requests.form import FormFile, ImageForm
from bento_service.settings import Settings

SINGLE_FIELD = "image"
BATCH_FIELD = "images"
FORM_OVERHEAD_BYTES = 65_536
"""Room for boundaries, part headers and other fields around a single image."""
_FORM_TYPE = "multipart/form-data"
_MAX_TYPE_CHARS = 1000
"""Of the header `Content-Type`, whose boundary has at most 70 (RFC 2046, 5.1.1). Python's parser takes a time that
grows with the square of the length: 2 s for the 64 KB that headers may have."""
Fields = Mapping[str, str]
"""The texts of a form, by field."""


async def read_image(
    request: Request,
    settings: Settings,
    lease: ByteLease,
    *,
    deadline_ms: float | None = None,
    text_fields: Collection[str] = (),
) -> tuple[bytes, Fields]:
    """Receive the one image of a request: the raw body, or the form field `image`. The bytes decide what it is.

    `deadline_ms` counts from the call.

    Returns:
        The image's bytes, and the other fields of its form: empty texts except those that `text_fields` names.

    Raises:
        MissingImageError: The body is empty, has no such file, or is a form of another kind.
        InvalidParameterError: The form is malformed, has more than one image, or too long a text.
        ImageTooLargeError: It exceeds `settings.max_image_bytes`.
        ReceiveTimeoutError: It took longer than `settings.receive_timeout_s`.
        DeadlineExceededError: It took longer than `deadline_ms`.
        OverloadedError: Too many bytes are in memory.
        ClientGoneError: The client disconnected.
    """
    kind = _media_type(request)
    if kind.startswith("multipart/") and kind != _FORM_TYPE:
        raise MissingImageError(
            f"A body of type {kind} carries no image. Send the image's bytes as image/* or application/octet-stream, "
            f"or a multipart/form-data form with the field `{SINGLE_FIELD}`."
        )
    max_bytes = settings.max_image_bytes
    async with limit_time(settings.receive_timeout_s, deadline_ms):
        if kind == _FORM_TYPE:
            several = InvalidParameterError(
                f"The form has more than one field `{SINGLE_FIELD}`. Send one, or use POST /v1/classify/batch.",
                parameter=SINGLE_FIELD,
            )
            form = ImageForm(
                _boundary_of(request),
                field=SINGLE_FIELD,
                max_files=1,
                max_file_bytes=max_bytes,
                too_many_files=several,
                lease=lease,
                text_fields=text_fields,
            )
            [file] = await _read_form(request, form, max_bytes=max_bytes, overhead_bytes=FORM_OVERHEAD_BYTES)
            return file.require_content(), form.texts
        chunks: list[bytes] = []
        async for chunk in receive_chunks(request, max_bytes=max_bytes):
            lease.take(len(chunk))
            chunks.append(chunk)
    if not chunks:
        raise MissingImageError("The body is empty. Send an image's bytes.")
    return b"".join(chunks), {}


async def read_batch(
    request: Request, settings: Settings, lease: ByteLease, *, text_fields: Collection[str]
) -> tuple[tuple[FormFile, ...], Fields]:
    """Receive the images of a batch: each part of the form's field `images`.

    Returns:
        The files, and the other fields as `read_image` does. A file that exceeds `settings.max_image_bytes` has no
        content, so that the other files can be answered.

    Raises:
        MissingImageError: The body is no form, or has no such field.
        TooManyImagesError: More files than `settings.max_images`.
        ImageTooLargeError: The request exceeds `settings.max_request_bytes`.
        LightboxError: As `read_image`, for the other errors of receiving.
    """
    if _media_type(request) != _FORM_TYPE:
        declared = request.headers.get("content-type", "")[:100]
        raise MissingImageError(
            f"A batch is a multipart/form-data form with the images in the field `{BATCH_FIELD}`; "
            f"this body is {declared or 'of no declared type'}."
        )
    too_many = TooManyImagesError(
        f"The batch has more than {settings.max_images} images. Send it in several requests.",
        limit=settings.max_images,
    )
    form = ImageForm(
        _boundary_of(request),
        field=BATCH_FIELD,
        max_files=settings.max_images,
        max_file_bytes=settings.max_image_bytes,
        too_many_files=too_many,
        lease=lease,
        text_fields=text_fields,
    )
    async with limit_time(settings.receive_timeout_s, None):
        return await _read_form(request, form, max_bytes=settings.max_request_bytes), form.texts


async def _read_form(
    request: Request, form: ImageForm, *, max_bytes: int, overhead_bytes: int = 0
) -> tuple[FormFile, ...]:
    is_empty = True
    async for chunk in receive_chunks(request, max_bytes=max_bytes, overhead_bytes=overhead_bytes):
        is_empty = False
        form.feed(chunk)
    if is_empty:
        raise MissingImageError("The body is empty. Send a form with an image.")
    return form.finish()


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _boundary_of(request: Request) -> bytes:
    """Return the boundary of a form. Clients send `=`, `/` and others unquoted, against RFC 2045."""
    header = Message()
    header["Content-Type"] = request.headers["content-type"][:_MAX_TYPE_CHARS]
    boundary = header.get_param("boundary", "")
    return boundary.encode("latin1", "replace") if isinstance(boundary, str) else b""
