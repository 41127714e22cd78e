"""`POST /classify`: one image, in the form in which BentoML's clients and its page at `/` send it."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from bento_service.http.requests.parameters import ClassifyQuery
from bento_service.http.routes.classify import Fields, answer_image
from bento_service.http.state import StateProvider

CLASSIFY_PATH = "/classify"


def bento_classify_router(provide: StateProvider) -> APIRouter:
    """Return the router of BentoML's call, which BentoML describes at `/docs.json` and our own document leaves out."""
    router = APIRouter()

    @router.post(CLASSIFY_PATH, include_in_schema=False)
    async def classify(request: Request, query: Annotated[ClassifyQuery, Query()]) -> Response:
        """Answer as `/v1/classify` does; the form's fields may be JSON values, as BentoML's clients write them."""
        return await answer_image(provide(), request, query, read_fields=_read_json_fields)

    return router


def _read_json_fields(fields: Fields) -> Fields:
    """Take the quotes from JSON strings and leave nulls out; any other text, numbers too, stays as it is written."""
    return {name: value for name, text in fields.items() if (value := _unquote(text)) is not None}


def _unquote(text: str) -> str | None:
    try:
        value = from_json(text)
    except ValueError:
        return text
    return value if value is None or isinstance(value, str) else text
