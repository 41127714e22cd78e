"""What a model's files say of it, each fact with the place where it stood."""

from dataclasses import dataclass, fields
from typing import Generic, TypeVar

from bento_service.domain.models import Channels, Fit, Interpolation
from bento_service.preparation.inspection import Activation

T = TypeVar("T")
F = TypeVar("F", bound="_Facts")


@dataclass(frozen=True, slots=True)
class Finding(Generic[T]):
    """A fact, and where it was found: `config.json id2label`, `--mean`."""

    value: T
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    def or_else(self: F, other: F) -> F:
        """Return these facts, with those of `other` where there are none."""
        pairs = {field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(self)}
        return type(self)(**{name: other if own is None else own for name, (own, other) in pairs.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFindings(_Facts):
    """The facts of an `InputRecipe`; `size` is (height, width) in pixels."""

    size: Finding[tuple[int, int]] | None = None
    fit: Finding[Fit] | None = None
    crop_fraction: Finding[float] | None = None
    interpolation: Finding[Interpolation] | None = None
    mean: Finding[tuple[float, ...]] | None = None
    std: Finding[tuple[float, ...]] | None = None
    channels: Finding[Channels] | None = None
    pad_value: Finding[int] | None = None
    is_antialiased: Finding[bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings(_Facts):
    """The facts of a classifier, but for its recipe."""

    labels: Finding[tuple[str, ...]] | None = None
    activation: Finding[Activation] | None = None
    licence: Finding[str] | None = None
    source: Finding[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFindings:
    """All that files say of a classifier."""

    facts: Findings = Findings()
    recipe: RecipeFindings = RecipeFindings()

    def or_else(self, other: "ModelFindings") -> "ModelFindings":
        """Return these findings, with those of `other` where there are none."""
        return ModelFindings(facts=self.facts.or_else(other.facts), recipe=self.recipe.or_else(other.recipe))


NOTHING = ModelFindings()
