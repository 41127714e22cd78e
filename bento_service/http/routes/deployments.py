"""`/v1/models/{name}/…`: the versions of a model, and the calls that change what is served."""

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Depends
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from bento_service.domain.model_names import ModelReference
from bento_service.errors import ImageTooLargeError, InvalidParameterError, ModelControlFixedError
from bento_service.http.requests.body import limit_time, receive_chunks
from bento_service.http.requests.caller import require_control
from bento_service.http.requests.parameters import explain_validation_error, refuse_unknown, take_none
from bento_service.http.responses.openapi import describe_problems
from bento_service.http.responses.serializers import JsonResponse
from bento_service.http.responses.versions import to_model_versions
from bento_service.http.state import AppState, get_state
from bento_service.models.registry_control import RegistryControl
from lightbox_client.contract import CanaryChoice, ModelVersions, NoChoice, ShadowChoice, VersionChoice, WireModel

_MAX_BODY_BYTES = 10_000
_LONGEST_NAME = 200
_READ = (
    "invalid_parameter",
    "unknown_model",
    "unknown_version",
    "model_control_fixed",
    "not_ready",
    "journal_unavailable",
)
_CHANGED = (*_READ, "foreign_request", "ambiguous_version", "version_in_use", "receive_timeout")

Choice = TypeVar("Choice", bound=WireModel)
Change = Callable[[RegistryControl, ModelReference, Any, str], None]
"""Makes one change: takes the model, the body and the caller."""

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(take_none)])


@router.get(
    "/{name:path}/versions",
    summary="List a model's versions",
    response_model=ModelVersions,
    responses=describe_problems(*_READ),
)
async def list_versions(request: Request, name: str) -> Response:
    """Return what the registry wants of a model, how far each worker is, and the last changes."""
    state = get_state(request)
    return JsonResponse(await _show(request, _require_registry(state), _parse_name(name).name))


def _add_change(action: str, summary: str, kind: type[WireModel], change: Change, *codes: str) -> None:
    """Add the route of one action. The body is JSON, and may be left out where nothing in it is required."""

    async def answer(request: Request, name: str) -> Response:
        state = get_state(request)
        require_control(request, state.settings)
        choice = await _read_choice(request, state, kind)
        model = _choose_version(_parse_name(name), getattr(choice, "version", None))
        caller = request.client.host if request.client else "local"
        control = _require_registry(state)
        await anyio.to_thread.run_sync(change, control, model, choice, caller)
        response = JsonResponse(await _show(request, control, model.name))
        response.status_code = 202
        response.headers["Location"] = f"/v1/models/{quote(model.name)}/versions"
        return response

    answer.__doc__ = f"{change.__doc__}\n\nThe answer comes at once; ask `Location` until `state` is no longer LOADING."
    schema = kind.model_json_schema()
    router.add_api_route(
        f"/{{name:path}}/{action}",
        answer,
        methods=["POST"],
        name=f"{action}_model",
        summary=summary,
        status_code=202,
        response_model=ModelVersions,
        responses=describe_problems(*_CHANGED, *codes),
        openapi_extra={"requestBody": {"required": False, "content": {"application/json": {"schema": schema}}}},
    )


def _load(control: RegistryControl, model: ModelReference, _: VersionChoice, caller: str) -> None:
    """Load a version beside those that serve; the first one of a model is its champion."""
    control.load(model, caller)


def _unload(control: RegistryControl, model: ModelReference, _: VersionChoice, caller: str) -> None:
    """Unload a version once its last request is answered; without a version, the whole model."""
    control.unload(model, caller)


def _promote(control: RegistryControl, model: ModelReference, _: VersionChoice, caller: str) -> None:
    """Let a version answer to the bare name as soon as it is loaded. Canary and shadow end."""
    control.promote(model, caller)


def _roll_back(control: RegistryControl, model: ModelReference, _: NoChoice, caller: str) -> None:
    """Let the former champion answer to the bare name again. Canary and shadow end."""
    control.roll_back(model.name, caller)


def _shadow(control: RegistryControl, model: ModelReference, choice: ShadowChoice, caller: str) -> None:
    """Run a share of the images on a version too, after they were answered, and compare the answers."""
    control.set_shadow(model, choice.share, caller)


def _canary(control: RegistryControl, model: ModelReference, choice: CanaryChoice, caller: str) -> None:
    """Let a version answer a share of the requests for the bare name."""
    control.set_canary(model, choice.share, choice.header, caller)


_add_change("load", "Load a version", VersionChoice, _load)
_add_change("unload", "Unload a version", VersionChoice, _unload)
_add_change("promote", "Promote a version", VersionChoice, _promote)
_add_change("rollback", "Roll back to the former champion", NoChoice, _roll_back, "no_former_champion")
_add_change("shadow", "Run a version in the shadow", ShadowChoice, _shadow, "labels_differ")
_add_change("canary", "Send a share of requests to a version", CanaryChoice, _canary, "labels_differ")


async def _show(request: Request, control: RegistryControl, name: str) -> ModelVersions:
    # It reads the journal's database and takes about as long as history (14 ms), so a few at a time there too.
    limiter = request.app.state.journal_reads
    return to_model_versions(await anyio.to_thread.run_sync(control.overview, name, limiter=limiter))


def _require_registry(state: AppState) -> RegistryControl:
    if state.control is None:
        raise ModelControlFixedError(
            "What this service serves is fixed by its settings, so there is no registry to ask. "
            "`GET /v1/models` lists what is served."
        )
    return state.control


def _parse_name(name: str) -> ModelReference:
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise InvalidParameterError(
            f"A model's name has at most {_LONGEST_NAME} printable characters.", parameter="name"
        )
    if name.endswith((":", "@")):
        # A script whose variable is empty would otherwise unload the whole model.
        raise InvalidParameterError(
            f"{name!r} ends with {name[-1]!r}: add a version or an alias, or leave it out.", parameter="name"
        )
    return ModelReference.parse(name)


def _choose_version(model: ModelReference, version: str | None) -> ModelReference:
    if version is None:
        return model
    if model.version or model.alias:
        raise InvalidParameterError(
            f"The path names a version of {model.name}, and the body another one, {version!r}. Send one of them.",
            parameter="version",
        )
    return ModelReference(model.name, version)


async def _read_choice(request: Request, state: AppState, kind: type[Choice]) -> Choice:
    body = b""
    try:
        async with limit_time(state.settings.receive_timeout_s, None):
            async for chunk in receive_chunks(request, max_bytes=_MAX_BODY_BYTES):
                body += chunk
    except ImageTooLargeError:
        raise InvalidParameterError(f"The body has more than the {_MAX_BODY_BYTES} bytes allowed.") from None
    try:
        given = from_json(body or b"{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise InvalidParameterError("The body is no JSON object.")
    refuse_unknown(given, allowed=tuple(kind.model_fields))
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise explain_validation_error(error) from None
