"""`GET /v1/models`: what is served."""

from fastapi import APIRouter, Depends
from starlette.responses import Response

from bento_service.domain.service import ServedModel
from bento_service.errors import UnknownModelError
from bento_service.http.requests.parameters import take_none
from bento_service.http.responses.openapi import describe_problems
from bento_service.http.responses.schemas import JsonResponse, to_labels, to_model_card
from bento_service.http.state import StateProvider
from lightbox_client.contract import Labels, ModelCard, ModelList


def models_router(provide: StateProvider) -> APIRouter:
    """Return the router of model cards. A name may hold slashes: `timm/resnet50.a1_in1k`."""
    router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(take_none)])

    @router.get(
        "",
        summary="List the models",
        response_model=ModelList,
        responses=describe_problems("invalid_parameter", "not_ready"),
    )
    async def list_models() -> Response:
        """Return all served models, in the order of the settings."""
        return JsonResponse(ModelList(models=[to_model_card(served) for served in provide().classifier.models()]))

    # Declared before the card, whose path would take `/labels` for the end of a name.
    @router.get(
        "/{name:path}/labels",
        summary="List a model's labels",
        response_model=Labels,
        responses=describe_problems("invalid_parameter", "unknown_model", "not_ready"),
    )
    async def list_labels(name: str) -> Response:
        """Return the labels; a label's position is its class_id."""
        return JsonResponse(to_labels(_find(provide().classifier.models(), name).card))

    @router.get(
        "/{name:path}",
        summary="Show a model's card",
        response_model=ModelCard,
        responses=describe_problems("invalid_parameter", "unknown_model", "not_ready"),
    )
    async def show_model(name: str) -> Response:
        """Return what the model is, where it comes from and what runs it."""
        return JsonResponse(to_model_card(_find(provide().classifier.models(), name)))

    return router


def _find(models: tuple[ServedModel, ...], name: str) -> ServedModel:
    for served in models:
        if served.card.name == name:
            return served
    names = [served.card.name for served in models]
    raise UnknownModelError(f"No model named {name!r} is served. Served: {', '.join(names)}.", models=names)
