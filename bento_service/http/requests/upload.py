"""The images that a request carries: one, as raw body or form field, or many, as a form."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.message import Message

from starlette.requests import Request

from bento_service.errors import InvalidParameterError, MissingImageError, TooManyImagesError
from bento_service.http.requests.body import ByteLease, SizeLimit, TimeLimit, receive_chunks, receive_whole
from bento_service.http.requests.form import FormFile, ImageForm
from bento_service.settings import Settings

SINGLE_FIELD = "image"
BATCH_FIELD = "images"
FORM_OVERHEAD_BYTES = 65_536
"""Room for boundaries, part headers and other fields around a single image."""


@dataclass(frozen=True, slots=True)
class Upload:
    """The bytes of one image, and the other fields of its form, by name."""

    encoded: bytes
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BatchUpload:
    """The files of a batch, and the other fields of their form, by name."""

    files: tuple[FormFile, ...]
    fields: Mapping[str, str]


async def read_upload(
    request: Request,
    settings: Settings,
    lease: ByteLease,
    *,
    deadline_ms: float | None,
    text_fields: Collection[str],
) -> Upload:
    """Receive the one image of a request: the raw body, or the form field `image`. The bytes decide what it is.

    `deadline_ms` counts from the call. Other form fields have an empty text unless `text_fields` names them.

    Raises:
        MissingImageError: The body is empty, has no such file, or is a form of another kind.
        InvalidParameterError: The form is malformed, has more than one image, or too long a text.
        ImageTooLargeError: It exceeds `settings.max_image_bytes`.
        ReceiveTimeoutError: It took longer than `settings.receive_timeout_s`.
        DeadlineExceededError: It took longer than `deadline_ms`.
        OverloadedError: Too many bytes are in memory.
        ClientGoneError: The client disconnected.
    """
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    time_limit = TimeLimit(settings.receive_timeout_s, deadline_ms)
    if kind == "multipart/form-data":
        return await _read_form_upload(request, settings, lease, time_limit, text_fields)
    if kind.startswith("multipart/"):
        raise MissingImageError(
            f"A body of type {kind} carries no image. Send the image's bytes as image/* or application/octet-stream, "
            f"or a multipart/form-data form with the field `{SINGLE_FIELD}`."
        )
    limit = SizeLimit(settings.max_image_bytes)
    limit.check_declared(request.headers)
    async with time_limit.hold():
        encoded = await receive_whole(request.receive, limit, lease)
    if not encoded:
        raise MissingImageError("The body is empty. Send an image's bytes.")
    return Upload(encoded, {})


async def read_batch(
    request: Request, settings: Settings, lease: ByteLease, *, text_fields: Collection[str]
) -> BatchUpload:
    """Receive the images of a batch: each part of the form's field `images`.

    A file that exceeds `settings.max_image_bytes` has no content, so that the other files can be answered.

    Raises:
        MissingImageError: The body is no form, or has no such field.
        TooManyImagesError: More files than `settings.max_images`.
        ImageTooLargeError: The request exceeds `settings.max_request_bytes`.
        LightboxError: As `read_upload`, for the other errors of receiving.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise MissingImageError(
            f"A batch is a multipart/form-data form with the images in the field `{BATCH_FIELD}`; "
            f"this body is {content_type[:100] or 'of no declared type'}."
        )

    def refuse() -> TooManyImagesError:
        return TooManyImagesError(
            f"The batch has more than {settings.max_images} images. Send it in several requests.",
            limit=settings.max_images,
        )

    form = ImageForm(
        _boundary_of(content_type),
        field=BATCH_FIELD,
        max_files=settings.max_images,
        max_file_bytes=settings.max_image_bytes,
        too_many_files=refuse,
        lease=lease,
        text_fields=text_fields,
    )
    size_limit = SizeLimit(settings.max_request_bytes)
    files = await _read_form(request, form, size_limit, TimeLimit(settings.receive_timeout_s))
    return BatchUpload(files, form.texts)


async def _read_form_upload(
    request: Request, settings: Settings, lease: ByteLease, time_limit: TimeLimit, text_fields: Collection[str]
) -> Upload:
    def refuse() -> InvalidParameterError:
        return InvalidParameterError(
            f"The form has more than one field `{SINGLE_FIELD}`. Send one, or use POST /v1/classify/batch.",
            parameter=SINGLE_FIELD,
        )

    form = ImageForm(
        _boundary_of(request.headers["content-type"]),
        field=SINGLE_FIELD,
        max_files=1,
        max_file_bytes=settings.max_image_bytes,
        too_many_files=refuse,
        lease=lease,
        text_fields=text_fields,
    )
    size_limit = SizeLimit(settings.max_image_bytes, FORM_OVERHEAD_BYTES)
    files = await _read_form(request, form, size_limit, time_limit)
    return Upload(files[0].require_content(), form.texts)


async def _read_form(
    request: Request, form: ImageForm, size_limit: SizeLimit, time_limit: TimeLimit
) -> tuple[FormFile, ...]:
    size_limit.check_declared(request.headers)
    is_empty = True
    async with time_limit.hold():
        async for chunk in receive_chunks(request.receive, size_limit):
            is_empty = False
            form.feed(chunk)
    if is_empty:
        raise MissingImageError("The body is empty. Send a form with an image.")
    return form.finish()


def _boundary_of(content_type: str) -> bytes:
    """Return the boundary of a form. Clients send `=`, `/` and others unquoted, against RFC 2045."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary", "")
    return boundary.encode("latin1", "replace") if isinstance(boundary, str) else b""
