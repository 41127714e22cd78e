"""`GET /v1/status` and `GET /version`: what is running, and how it is doing. Both answer while models still load."""

import functools
import platform
from collections.abc import Callable
from importlib import metadata

from fastapi import APIRouter, Depends
from starlette.responses import Response

from bento_service import __version__
from bento_service.domain.service import ServiceStatus
from bento_service.errors import NotReadyError
from bento_service.http.requests.parameters import take_none
from bento_service.http.responses.openapi import describe_problems
from bento_service.http.responses.schemas import JsonResponse, to_status
from bento_service.http.state import StateProvider
from lightbox_client.contract import Status, Version

StatusProvider = Callable[[], ServiceStatus]
"""Returns how the worker is doing; never raises, not even before anything is loaded."""

_LIBRARIES = ("bentoml", "openvino", "torch", "timm", "numpy", "pillow", "simplejpeg", "fastapi", "sqlalchemy")


def status_router(provide: StateProvider, status: StatusProvider) -> APIRouter:
    """Return the router of what is running."""
    router = APIRouter(tags=["service"], dependencies=[Depends(take_none)])
    # Reading the packages' metadata takes milliseconds of the event loop, and no package changes under a process.
    read_versions = functools.cache(_installed)

    @router.get(
        "/v1/status", summary="Show the worker", response_model=Status, responses=describe_problems("invalid_parameter")
    )
    async def show_status() -> Response:
        """Return hardware, lanes, queue and journal of the worker that happens to answer."""
        return JsonResponse(to_status(status()))

    @router.get(
        "/version",
        summary="Show the versions",
        response_model=Version,
        responses=describe_problems("invalid_parameter"),
    )
    async def show_version() -> Response:
        """Return the versions of Lightbox, its libraries, and its models once they are loaded."""
        try:
            models = {served.card.name: served.card.version for served in provide().classifier.models()}
        except NotReadyError:
            models = {}
        return JsonResponse(
            Version(
                lightbox=__version__,
                python=platform.python_version(),
                libraries=read_versions(_LIBRARIES),
                models=models,
            )
        )

    return router


def _installed(names: tuple[str, ...]) -> dict[str, str]:
    versions: dict[str, str] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a container carries only the engine that it uses
            continue
    return versions
