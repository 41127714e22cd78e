"""`GET /v1/models`: what is served."""

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from bento_service.domain.registry import CHAMPION, Deployment, LoadState, VersionStatus
from bento_service.domain.service import ServedModel
from bento_service.http.requests.parameters import take_none
from bento_service.http.responses.openapi import describe_problems
from bento_service.http.responses.serializers import JsonResponse, to_labels, to_model_card
from bento_service.http.responses.versions import to_canary, to_own_versions, to_shadow, to_unserved
from bento_service.http.state import AppState, get_state
from lightbox_client.contract import Labels, ModelCard, ModelList

_PROBLEMS = describe_problems("invalid_parameter", "unknown_model", "not_ready")

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(take_none)])
"""A model's name may hold slashes: `timm/resnet50.a1_in1k`."""


@router.get(
    "",
    summary="List the models",
    response_model=ModelList,
    responses=describe_problems("invalid_parameter", "not_ready"),
)
async def list_models(request: Request) -> Response:
    """Return all served models, in the order of the settings, and those that are wanted and not served."""
    state = get_state(request)
    models = state.classifier.models()
    return JsonResponse(
        ModelList(
            models=[_to_card(state, served) for served in models],
            not_served=to_unserved({served.card.name for served in models}, state.version_states()),
        )
    )


# Declared before the card, whose path would take `/labels` for the end of a name.
@router.get("/{name:path}/labels", summary="List a model's labels", response_model=Labels, responses=_PROBLEMS)
async def list_labels(request: Request, name: str) -> Response:
    """Return the labels; a label's position is its class_id."""
    return JsonResponse(to_labels(get_state(request).classifier.find_model(name).card))


@router.get("/{name:path}", summary="Show a model's card", response_model=ModelCard, responses=_PROBLEMS)
async def show_model(request: Request, name: str) -> Response:
    """Return what the model is, where it comes from and what runs it."""
    state = get_state(request)
    return JsonResponse(_to_card(state, state.classifier.find_model(name)))


def _to_card(state: AppState, served: ServedModel) -> ModelCard:
    """Return a card with the versions that this worker has; where the settings fix them, that is the one served."""
    name, version = served.card.name, served.card.version
    deployment = state.deployments().get(name) or Deployment(name, (version,), {CHAMPION: version})
    states = state.version_states() or {(name, version): VersionStatus(LoadState.READY)}
    return to_model_card(served).model_copy(
        update={
            "aliases": dict(deployment.aliases),
            "versions": to_own_versions(deployment, states),
            "canary": to_canary(deployment.canary),
            "shadow": to_shadow(deployment.shadow),
        }
    )
