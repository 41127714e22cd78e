"""The fake service's calls: what each path answers."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel
from python_multipart import parse_form
from python_multipart.multipart import Field, File

from lightbox_client.contract import (
    PREVIEW_HEADERS,
    BatchClassification,
    BatchItem,
    Classification,
    ImageInfo,
    ModelCard,
    Problem,
)
from tests.fakes import service_data

if TYPE_CHECKING:
    from tests.fakes.service import FakeService

STATUS_BY_CODE = {
    "invalid_parameter": 400,
    "missing_image": 400,
    "unknown_model": 404,
    "not_found": 404,
    "image_too_large": 413,
    "too_many_pixels": 413,
    "too_many_images": 413,
    "unsupported_format": 415,
    "undecodable_image": 422,
    "overloaded": 429,
    "internal_error": 500,
    "inference_failed": 500,
    "not_ready": 503,
    "draining": 503,
    "journal_unavailable": 503,
    "deadline_exceeded": 504,
}
EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class SeenRequest:
    """A request as it arrived; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What goes back."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818 - the answer is the point, not the error
    """Ends a call with a problem."""

    def __init__(self, code: str, detail: str, **details: object) -> None:
        super().__init__(detail)
        self.reply = problem_reply(code, detail, None, **details)


def problem_reply(code: str, detail: str, headers: Mapping[str, str] | None, **details: object) -> Reply:
    """An RFC 9457 answer; the request's id is filled in as it is sent."""
    status = STATUS_BY_CODE[code]
    document = {
        "type": "about:blank",
        "title": code.replace("_", " "),
        "status": status,
        "detail": detail,
        "code": code,
    }
    return Reply(
        status, json.dumps(document | {"request_id": ""} | details).encode(), "application/problem+json", headers or {}
    )


class ServiceHandler(BaseHTTPRequestHandler):
    """One request. Each answer closes its connection, so that a stopped service leaves none open."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Stay silent."""

    def _answer(self) -> None:
        service = cast("FakeService", getattr(self.server, "service"))  # noqa: B009 - socketserver types it loosely
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = SeenRequest(self.command, unquote(url.path), dict(parse_qsl(url.query)), headers, body)
        reply = service.take(request)
        request_id = headers.get("x-request-id") or f"fake-{len(service.requests):06d}"
        if reply is None:
            try:
                reply = route(request, service, request_id)
            except Refused as refusal:
                reply = refusal.reply
        self._send(reply, request_id)

    def _send(self, reply: Reply, request_id: str) -> None:
        body = reply.body
        if reply.content_type == "application/problem+json":
            body = json.dumps(json.loads(body) | {"request_id": request_id}).encode()
        try:
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Request-ID", request_id)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            """The caller gave up waiting, which is what some tests are about."""


def route(request: SeenRequest, service: "FakeService", request_id: str) -> Reply:
    """Find the call and answer it."""
    if request.path == "/livez":
        return Reply(200, b"", "text/plain")
    if service.is_loading and request.path not in {"/v1/status", "/version"}:
        return problem_reply("not_ready", "The models are still loading.", {"Retry-After": "1"})
    if request.method == "POST" and request.path == "/v1/classify":
        return _json(_classify(request, request_id))
    if request.method == "POST" and request.path == "/v1/preview":
        return _preview(request)
    if request.method == "POST" and request.path == "/v1/classify/batch":
        return _json(_classify_batch(request, request_id))
    if request.method == "GET":
        return _read(request, service)
    raise Refused("not_found", f"There is no {request.method} {request.path}.")


def _read(request: SeenRequest, service: "FakeService") -> Reply:
    if request.path == "/readyz":
        return Reply(200, b"", "text/plain")
    if request.path == "/v1/status":
        return _json(service_data.status("loading" if service.is_loading else "ready"))
    if request.path == "/version":
        return _json(service_data.version())
    if request.path in {"/v1/history", "/v1/history/requests"}:
        return _json(_history(request, is_empty=service.is_history_empty))
    if request.path.startswith("/v1/models"):
        return _json(_models(request.path.removeprefix("/v1/models").strip("/")))
    raise Refused("not_found", f"There is no {request.path}.")


def _json(message: BaseModel) -> Reply:
    return Reply(200, message.model_dump_json().encode())


def _card(name: str | None) -> ModelCard:
    card = service_data.model_card(name)
    if card is None:
        names = [known.name for known in service_data.model_cards().models]
        raise Refused("unknown_model", f"There is no model {name!r}; there are {', '.join(names)}.", models=names)
    return card


def _models(rest: str) -> BaseModel:
    if not rest:
        return service_data.model_cards()
    if rest.endswith("/labels"):
        return service_data.model_labels(_card(rest.removesuffix("/labels")))
    return _card(rest)


def _history(request: SeenRequest, *, is_empty: bool) -> BaseModel:
    query = request.query
    until = service_data.parse_time(query.get("until"), datetime.now(UTC))
    since = service_data.parse_time(query.get("since"), until - timedelta(hours=1))
    if since >= until:
        raise Refused("invalid_parameter", "since must be before until.", parameter="since")
    model = query.get("model")
    if request.path.endswith("/requests"):
        return service_data.history_requests(until, query, is_empty=is_empty)
    return service_data.history(since, until, int(query.get("buckets", "60")), model, is_empty=is_empty)


def _top_k(request: SeenRequest) -> int:
    given = request.query.get("top_k", "5")
    if not given.isdecimal() or not 1 <= int(given) <= service_data.LABELS_COUNT:
        detail = f"top_k is {given}; it may be 1 to {service_data.LABELS_COUNT}."
        raise Refused("invalid_parameter", detail, parameter="top_k")
    return int(given)


def _files(request: SeenRequest) -> list[tuple[str, str | None, bytes]]:
    """The form's files: field, file name, bytes."""
    found: list[tuple[str, str | None, bytes]] = []

    def keep(file: File) -> None:
        stream = file.file_object
        stream.seek(0)
        name = file.file_name.decode() if file.file_name else None
        found.append(((file.field_name or b"").decode(), name, stream.read()))

    def skip(field: Field) -> None:
        """Forms carry nothing else here."""

    headers = {"Content-Type": request.headers["content-type"].encode()}
    parse_form(headers, io.BytesIO(request.body), skip, keep)
    return found


def _classify(request: SeenRequest, request_id: str) -> Classification:
    encoded = request.body
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        encoded = next((body for name, _, body in _files(request) if name == "image"), b"")
    return _classify_one(encoded, request, request_id)


def _preview(request: SeenRequest) -> Reply:
    """What Pillow makes of it; a format of its own says that the service was asked."""
    info, warnings = _read_image(request.body)
    with Image.open(io.BytesIO(request.body)) as image:
        shown = ImageOps.exif_transpose(image).convert("RGB")
    shown.thumbnail((640, 640))
    png = io.BytesIO()
    shown.save(png, "PNG")
    headers = dict(
        zip(PREVIEW_HEADERS, (info.format, str(info.width), str(info.height), ", ".join(warnings)), strict=True)
    )
    return Reply(200, png.getvalue(), "image/png", headers)


def _classify_one(encoded: bytes, request: SeenRequest, request_id: str) -> Classification:
    card, top_k = _card(request.query.get("model")), _top_k(request)
    image, warnings = _read_image(encoded)
    return service_data.classification(request_id, card, image, top_k, warnings)


def _classify_batch(request: SeenRequest, request_id: str) -> BatchClassification:
    _card(request.query.get("model"))
    items: list[BatchItem] = []
    for index, (_, filename, encoded) in enumerate(each for each in _files(request) if each[0] == "images"):
        item_id = f"{request_id}-{index}"
        try:
            answer = _classify_one(encoded, request, item_id)
        except Refused as refusal:
            error = Problem.model_validate(json.loads(refusal.reply.body) | {"request_id": item_id})
            items.append(BatchItem(index=index, filename=filename, error=error))
        else:
            items.append(BatchItem(index=index, filename=filename, result=answer))
    if not items:
        raise Refused("missing_image", "The form has no field 'images'.")
    return BatchClassification(request_id=request_id, results=items)


def _read_image(encoded: bytes) -> tuple[ImageInfo, list[str]]:
    if not encoded:
        raise Refused("missing_image", "The request has no image: its body is empty.")
    try:
        image = Image.open(io.BytesIO(encoded))
        image.load()
    except UnidentifiedImageError:
        raise Refused("unsupported_format", "The bytes are no JPEG, PNG, WebP, GIF, BMP or TIFF.") from None
    except (OSError, SyntaxError) as error:
        raise Refused("undecodable_image", f"The image is truncated or corrupt: {error}") from None
    is_turned = image.getexif().get(EXIF_ORIENTATION, 1) != 1
    info = ImageInfo(format=image.format or "?", width=image.width, height=image.height)
    return info, ["exif_orientation_applied"] if is_turned else []
