"""The served models by name, and the parameters that they take."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bento_service.domain.models import ModelCard
from bento_service.errors import InvalidParameterError, UnknownModelError

MAX_DEADLINE_MS = 600_000.0
"""Longest deadline that a client may ask for: ten minutes."""


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The served models' cards by name, the default's name, and cache scopes (`cache.result_cache.name_scope`)."""

    cards: Mapping[str, ModelCard]
    default_model: str
    scopes: Mapping[str, str] = field(default_factory=dict)

    def find(self, model: str | None) -> ModelCard:
        """Return the card of a model; None asks for the default.

        Raises:
            UnknownModelError: It is not served.
        """
        card = self.cards.get(self.default_model if model is None else model)
        if card is None:
            names = list(self.cards)
            raise UnknownModelError(f"No model named {model!r} is served. Served: {', '.join(names)}.", models=names)
        return card


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
