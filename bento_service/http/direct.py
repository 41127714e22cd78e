"""A short way to the calls that programs make by the thousand."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bento_service.errors import LightboxError
from bento_service.http.requests.parameters import Query
from bento_service.http.responses.failures import answer_failure, answer_invalid


class DirectRoute:
    """Pure ASGI: a route of FastAPI's, answered as FastAPI would, by the same endpoint and the same query model.

    FastAPI's way there, which works out at each request what the endpoint takes, costs as much as the rest of the front
    together (ADR 11). For endpoints that take a request and its query, and return a response.
    """

    def __init__(self, route: APIRoute, query_type: type[Query]) -> None:
        self._route = route
        self._endpoint: Callable[[Request, Query], Awaitable[Response]] = route.endpoint
        self._query_type = query_type
        self._defaults = query_type()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["route"] = self._route
        response = await self._answer(Request(scope, receive, send))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            try:
                query_string = request.scope["query_string"]
                query = self._query_type.read(query_string) if query_string else self._defaults
            except ValidationError as error:  # one of the endpoint's own is a fault of the service's
                return answer_invalid(request.scope, error)
            return await self._endpoint(request, query)
        except LightboxError as error:
            return answer_failure(request.scope, error)


def direct_routes(router: APIRouter, query_type: type[Query]) -> dict[tuple[str, str], DirectRoute]:
    """Return the short way to each call of a router, by method and path; the paths have no parameters."""
    return {
        (method, route.path): DirectRoute(route, query_type)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
