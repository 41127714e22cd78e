"""OpenAPI: problems, request bodies, and Swagger UI."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from bento_service.http.requests.parameters import Query
from bento_service.http.requests.upload import BATCH_FIELD, SINGLE_FIELD
from bento_service.http.responses.problems import MEDIA_TYPE, OPENAPI_PATH, PROBLEM_TYPES, build_problem
from lightbox_client.contract import Problem

DOCS_PATH = "/v1/docs"
_ASSETS_PATH = f"{DOCS_PATH}/assets"
_IMAGE_TYPES = (
    *(f"image/{kind}" for kind in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "heic", "avif", "*")),
    "application/octet-stream",
)
_BINARY = {"type": "string", "format": "binary"}

_FORM_RULES = (
    "A parameter may come in the query or as a field of the form. Given in both with different values, it is refused, "
    "and so is any other field. The request is admitted by its query or the defaults, before its body is read; fields "
    "apply once the whole form has arrived. A `deadline_ms` among them still counts from the request's headers."
)


def describe_problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` for these codes, by status, each with an example of each code."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in (*codes, "internal_error"):
        kind = PROBLEM_TYPES[code]
        empty = {"model": Problem, "description": "", "headers": {}, "content": {MEDIA_TYPE: {"examples": {}}}}
        response = responses.setdefault(kind.status, empty)
        response["description"] = f"{response['description']} `{code}`: {kind.when}".strip()
        example = build_problem(code, kind.when, "0b4e63f2c7a94d6c8a52f1d04be9a1c3").model_dump()
        response["content"][MEDIA_TYPE]["examples"][code] = {"summary": kind.title, "value": example}
        if kind.status in {429, 503}:
            response["headers"]["Retry-After"] = {"description": "Whole seconds.", "schema": {"type": "integer"}}
    # FastAPI documents its own 422 body, which is never sent here, unless `default` says what else there may be.
    responses["default"] = {"description": "Any other problem.", "model": Problem}
    return responses


class DescribedApi(FastAPI):
    """FastAPI, but its document has problems under their own media type."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made at the first call."""
        if self.openapi_schema is None:
            self.openapi_schema = _move_problems(super().openapi())
        return self.openapi_schema


def describe_image_body(query: type[Query]) -> dict[str, Any]:
    """Return `openapi_extra` for one image: the raw body, or a form, which takes the query's parameters too."""
    described = _describe_form(SINGLE_FIELD, _BINARY, query)
    body = described["requestBody"]
    # Swagger's page offers the first one: the raw body.
    body["content"] = {kind: {"schema": _BINARY} for kind in _IMAGE_TYPES} | body["content"]
    return described


def describe_batch_body(query: type[Query]) -> dict[str, Any]:
    """Return `openapi_extra` for a form of many images, which takes the query's parameters too."""
    return _describe_form(BATCH_FIELD, {"type": "array", "items": _BINARY}, query)


def add_docs_page(app: FastAPI, swagger_assets: Path | None) -> None:
    """Serve Swagger UI at `DOCS_PATH`.

    Args:
        app: Where to add it.
        swagger_assets: A folder with `swagger-ui-bundle.js` and `swagger-ui.css`, which makes the page work without
            internet; None loads them from FastAPI's CDN.
    """
    links: dict[str, Any] = {}
    if swagger_assets is not None:
        app.mount(_ASSETS_PATH, StaticFiles(directory=swagger_assets), name="swagger-assets")
        links = {
            "swagger_js_url": f"{_ASSETS_PATH}/swagger-ui-bundle.js",
            "swagger_css_url": f"{_ASSETS_PATH}/swagger-ui.css",
            "swagger_favicon_url": "data:,",
        }

    async def show_docs(request: Request) -> HTMLResponse:
        return get_swagger_ui_html(openapi_url=OPENAPI_PATH, title=f"{app.title}: the API", **links)

    app.add_route(DOCS_PATH, show_docs, include_in_schema=False)


def _move_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Move each problem from its call's media type, where FastAPI puts it, to `application/problem+json`."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if not status.startswith("2"):
                    content = response["content"]
                    [own] = content.keys() - {MEDIA_TYPE}
                    content.setdefault(MEDIA_TYPE, {}).update(content.pop(own))
    return document


def _describe_form(field: str, files: Mapping[str, Any], query: type[Query]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "description": _FORM_RULES,
        "required": [field],
        "properties": {field: files, **query.model_json_schema()["properties"]},
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
