"""Values of other libraries' configuration files, as findings; None where a value is missing or of another type."""

from collections.abc import Mapping
from typing import Any, Final, cast, get_args

from bento_service.domain.models import Interpolation
from bento_service.preparation.sources.findings import Finding

_RESAMPLINGS: Final[Mapping[int, Interpolation]] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
}
"""Pillow's `Image.Resampling`."""


def as_floats(value: Any) -> tuple[float, ...] | None:  # noqa: ANN401 - of a JSON file
    """Return a list of numbers, or a number as one of them."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(item, int | float) and not isinstance(item, bool) for item in values):
        return None
    return tuple(map(float, values))


def as_float(value: Any, where: str) -> Finding[float] | None:  # noqa: ANN401
    """Return a number."""
    return Finding(float(value), where) if isinstance(value, int | float) and not isinstance(value, bool) else None


def as_text(value: Any, where: str) -> Finding[str] | None:  # noqa: ANN401
    """Return a text that is not empty."""
    return Finding(value, where) if isinstance(value, str) and value else None


def as_interpolation(value: Any, where: str) -> Finding[Interpolation] | None:  # noqa: ANN401
    """Return an interpolation by its name, or by Pillow's number."""
    if isinstance(value, int):
        value = _RESAMPLINGS.get(value)
    return Finding(cast("Interpolation", value), where) if value in get_args(Interpolation) else None
