"""`GET /v1/status` and `GET /version`: what is running, and how it is doing. Both answer while models still load."""

import functools
import platform
from contextlib import suppress
from importlib import metadata

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from bento_service import __version__
from bento_service.errors import NotReadyError
from bento_service.http.requests.parameters import take_none
from bento_service.http.responses.openapi import describe_problems
from bento_service.http.responses.serializers import JsonResponse, to_status
from bento_service.http.state import get_state, get_status
from lightbox_client.contract import Status, Version

_LIBRARIES = ("bentoml", "openvino", "torch", "timm", "numpy", "pillow", "simplejpeg", "fastapi", "sqlalchemy")

router = APIRouter(tags=["service"], dependencies=[Depends(take_none)])


@router.get(
    "/v1/status", summary="Show the worker", response_model=Status, responses=describe_problems("invalid_parameter")
)
async def show_status(request: Request) -> Response:
    """Return hardware, lanes, queue and journal of the worker that happens to answer."""
    return JsonResponse(to_status(get_status(request)))


@router.get(
    "/version", summary="Show the versions", response_model=Version, responses=describe_problems("invalid_parameter")
)
async def show_version(request: Request) -> Response:
    """Return the versions of Lightbox, its libraries, and its models once they are loaded."""
    try:
        models = {served.card.name: served.card.version for served in get_state(request).classifier.models()}
    except NotReadyError:
        models = {}
    return JsonResponse(
        Version(lightbox=__version__, python=platform.python_version(), libraries=_read_versions(), models=models)
    )


@functools.cache
def _read_versions() -> dict[str, str]:
    """Return the versions of the libraries that are installed. Cached: each reading takes milliseconds."""
    versions: dict[str, str] = {}
    for name in _LIBRARIES:
        # A container has only the engine that it uses.
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
