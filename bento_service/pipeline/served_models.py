"""The served models by name, and the parameters that they take."""

from collections.abc import Mapping
from dataclasses import dataclass

from bento_service.domain.models import ModelCard
from bento_service.domain.service import ServedModel
from bento_service.errors import InvalidParameterError, UnknownModelError

MAX_DEADLINE_MS = 600_000.0
"""Longest deadline that a client may ask for: ten minutes."""


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The served models by name, in the order of the settings, and the default's name."""

    by_name: Mapping[str, ServedModel]
    default_model: str

    def find(self, name: str | None) -> ServedModel:
        """Return one model; None asks for the default.

        Raises:
            UnknownModelError: It is not served.
        """
        model = self.by_name.get(self.default_model if name is None else name)
        if model is None:
            names = list(self.by_name)
            raise UnknownModelError(f"No model named {name!r} is served. Served: {', '.join(names)}.", models=names)
        return model


def check_parameters(card: ModelCard, *, top_k: int, deadline_ms: float | None) -> None:
    """Check a request's parameters.

    Raises:
        InvalidParameterError: `top_k` or `deadline_ms` is out of range.
    """
    classes = len(card.labels)
    if not 1 <= top_k <= classes:
        raise InvalidParameterError(
            f"top_k is {top_k}; {card.name} has {classes} classes, so it must lie in 1..{classes}.",
            parameter="top_k",
            minimum=1,
            maximum=classes,
        )
    if deadline_ms is not None and not 0 < deadline_ms <= MAX_DEADLINE_MS:
        raise InvalidParameterError(
            f"deadline_ms is {deadline_ms:g}; it must be more than 0 and at most {MAX_DEADLINE_MS:g}.",
            parameter="deadline_ms",
            minimum=0,
            maximum=MAX_DEADLINE_MS,
        )
