"""Parameters: their types, limits and descriptions, shared by the routers."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from bento_service.errors import InvalidParameterError

DEFAULT_WINDOW = timedelta(hours=1)
_MAX_GIVEN_CHARS = 100


def _none_if_empty(value: object) -> object:
    """`?model=` means the same as no `model` at all, as in a form left blank."""
    return None if value == "" else value


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("year must lie in 1..9999") from None


OrNone = BeforeValidator(_none_if_empty)
Instant = Annotated[datetime, AfterValidator(_to_utc)]
ModelName = Annotated[str, Field(max_length=200)]


class Query(BaseModel):
    """Base of the query models: immutable."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class BatchQuery(Query):
    """What a batch may ask for."""

    model: Annotated[ModelName | None, OrNone] = Field(default=None, description="A served model; else the default.")
    top_k: int = Field(default=5, ge=1, description="Predictions wanted: 1 to the model's number of classes.")


class ClassifyQuery(BatchQuery):
    """What a single image may ask for."""

    deadline_ms: Annotated[float | None, OrNone] = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Longest that the answer may take, in milliseconds, from the request's headers on.",
    )

    def override(self, texts: Mapping[str, str]) -> Self:
        """Return these parameters with those replaced that a form gives, as BentoML's clients write them.

        Args:
            texts: By name, a JSON value (`5`, `"name"`), or a name without quotes; `null` is as good as nothing.

        Raises:
            InvalidParameterError: One is no number or out of range.
        """
        given = {name: value for name, text in texts.items() if (value := _unquote(text)) is not None}
        try:
            return type(self).model_validate(self.model_dump() | given)
        except ValidationError as error:
            raise explain_validation_error(error) from None


class WindowQuery(Query):
    """A window of time, and a model."""

    model: Annotated[ModelName | None, OrNone] = Field(default=None, description="One model; else all together.")
    since: Annotated[Instant | None, OrNone] = Field(
        default=None, description="Start: ISO 8601 (UTC unless it says otherwise) or Unix seconds; else an hour before."
    )
    until: Annotated[Instant | None, OrNone] = Field(default=None, description="End, itself not in it; else now.")

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Return start and end, the missing ones filled in.

        Raises:
            InvalidParameterError: The start is not before the end.
        """
        until = self.until or now
        since = self.since or until - DEFAULT_WINDOW
        if since >= until:
            raise InvalidParameterError(
                f"since is {since.isoformat()} and until is {until.isoformat()}; since must be the earlier one.",
                parameter="since",
                given=since.isoformat(),
            )
        return since, until


def explain_validation_error(error: RequestValidationError | ValidationError) -> InvalidParameterError:
    """Return a verdict on parameters as an error that names the parameter, what was given and what is allowed."""
    first, *others = (_Fault.of(fault) for fault in error.errors())
    return InvalidParameterError(
        " ".join(fault.sentence for fault in (first, *others)), parameter=first.parameter, given=first.given
    )


def _unquote(text: str) -> str | None:
    """Read a JSON string or null; any other text, numbers too, stays as it is written."""
    try:
        value = from_json(text)
    except ValueError:
        return text
    return value if value is None or isinstance(value, str) else text


class _Fault(BaseModel):
    """One of pydantic's complaints."""

    parameter: str
    given: str
    sentence: str

    @classmethod
    def of(cls, fault: Mapping[str, Any]) -> "_Fault":
        parameter = str(fault["loc"][1] if len(fault["loc"]) > 1 else fault["loc"][0])
        given = str(fault["input"])[:_MAX_GIVEN_CHARS]
        allowed = str(fault["msg"])
        return cls(parameter=parameter, given=given, sentence=f"{parameter} is {given!r}: {allowed}.")
