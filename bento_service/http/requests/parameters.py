"""Parameters: their types, limits and descriptions."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Self

from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import QueryParams
from starlette.requests import Request

from bento_service.errors import InvalidParameterError
from bento_service.explain.explainer import MethodChoice
from bento_service.journal.windows import LONGEST_WINDOW

DEFAULT_WINDOW = timedelta(hours=1)
CLOCK_TOLERANCE = timedelta(days=1)
"""How far in the future a window may end, for clients whose clock is wrong."""
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Start of the journal's timestamps. A window that is rounded to whole rollups stays clear of year 1."""
_MAX_GIVEN_CHARS = 100


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("year must lie in 1..9999") from None


def _check_nul(value: str) -> str:
    # PostgreSQL takes NUL in no text.
    if "\0" in value:
        raise ValueError("a name holds no NUL character")
    return value


Instant = Annotated[datetime, AfterValidator(_to_utc)]
ModelName = Annotated[str, Field(max_length=200)]
JournalText = Annotated[ModelName, AfterValidator(_check_nul)]


class Query(BaseModel):
    """Base of the query models: immutable. An empty value (`?model=`) counts as not given, as in a form left blank."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    @classmethod
    def read(cls, query_string: bytes) -> Self:
        """Read a URL's query as FastAPI does: of a parameter that is given twice, the last counts.

        Raises:
            InvalidParameterError: A parameter is unknown, of the wrong type or out of range.
        """
        if not query_string:
            return cls()
        try:
            return cls.model_validate(dict(QueryParams(query_string)))
        except ValidationError as error:
            raise explain_validation_error(error) from None

    @model_validator(mode="before")
    @classmethod
    def _take_given(cls, given: Mapping[str, object]) -> Mapping[str, object]:
        """Drop empty values; refuse unknown names. Unlike `extra="forbid"`, the error names those that are allowed."""
        refuse_unknown(given, allowed=tuple(cls.model_fields))
        return {name: value for name, value in given.items() if value != ""}

    def with_fields(self, fields: Mapping[str, str]) -> Self:
        """Return these parameters together with those of a form's fields, under the same rules.

        Raises:
            InvalidParameterError: A field is unknown or its value not allowed, or it contradicts the query.
        """
        try:
            given = type(self).model_validate(fields)
        except ValidationError as error:
            raise explain_validation_error(error) from None
        for name in given.model_fields_set & self.model_fields_set:
            asked, sent = getattr(self, name), getattr(given, name)
            if asked != sent:
                raise InvalidParameterError(
                    f"{name} is {asked!r} in the query and {sent!r} in the form. Send it once.", parameter=name
                )
        return self.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


DEADLINE_MS: Final = Field(
    default=None,
    gt=0,
    allow_inf_nan=False,
    description="Longest that the answer may take, in milliseconds, from the request's headers on; sending counts.",
)


class BatchQuery(Query):
    """Parameters of a batch."""

    model: ModelName | None = Field(default=None, description="A served model; else the default.")
    top_k: int = Field(default=5, ge=1, description="Predictions wanted; all classes of a model that has fewer.")


class ClassifyQuery(BatchQuery):
    """Parameters of a single image."""

    deadline_ms: float | None = DEADLINE_MS


class ExplainQuery(Query):
    """Parameters of an explanation."""

    model: ModelName | None = Field(default=None, description="A served model; else the default.")
    class_id: int | None = Field(default=None, ge=0, description="The class to explain; else the best one.")
    method: MethodChoice = Field(
        default="auto",
        description="`cam`: a class activation map, for models whose head is pooling and a linear layer. `occlusion`: "
        "the image runs 49 times more, as bulk work. `auto`: `cam` where the model has it, else `occlusion`.",
    )
    opacity: float = Field(default=0.5, ge=0, le=1, description="Of the map in the picture.")
    deadline_ms: float | None = DEADLINE_MS


class WindowQuery(Query):
    """A window of time, and a model."""

    model: JournalText | None = Field(default=None, description="One model; else all together.")
    since: Instant | None = Field(
        default=None,
        description="Start: ISO 8601 (UTC unless it says otherwise) or Unix seconds, at most 400 days before `until`; "
        "else an hour before.",
    )
    until: Instant | None = Field(default=None, description="End, itself not in it, at most a day ahead; else now.")

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Return start and end, the missing ones filled in.

        Raises:
            InvalidParameterError: The start is not before the end, lies before 1970 or more than 400 days before the
                end; or the end is more than a day ahead.
        """
        latest = now + CLOCK_TOLERANCE
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None and not EARLIEST <= moment <= latest:
                allowed = f"between {EARLIEST.isoformat()} and a day from now, {latest.isoformat()}"
                raise _refuse_moment(name, moment, allowed)
        until = self.until or now
        since = self.since or until - DEFAULT_WINDOW
        if since >= until:
            raise _refuse_moment("since", since, f"before until, {until.isoformat()}")
        if until - since > LONGEST_WINDOW:
            allowed = f"at most {LONGEST_WINDOW.days} days, as long as the journal keeps anything, before until"
            raise _refuse_moment("since", since, f"{allowed}, {until.isoformat()}")
        return since, until


def describe_query(query: type[Query]) -> list[dict[str, Any]]:
    """Return the OpenAPI parameters of a query that an endpoint reads itself."""
    properties = query.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "required": False, "description": schema["description"], "schema": schema}
        for name, schema in properties.items()
    ]


def refuse_unknown(given: Iterable[str], *, allowed: Sequence[str]) -> None:
    """Raise `InvalidParameterError` for a parameter that a call does not have; ignored, it would seem to work."""
    for name in given:
        if name not in allowed:
            shown = name[:_MAX_GIVEN_CHARS]
            raise InvalidParameterError(
                f"There is no parameter {shown!r} here. Allowed: {', '.join(allowed) or 'none'}.",
                parameter=shown,
                allowed=list(allowed),
            )


async def take_none(request: Request) -> None:
    """Refuse every parameter; the dependency of calls that have none."""
    refuse_unknown(request.query_params, allowed=())


def _refuse_moment(parameter: str, moment: datetime, allowed: str) -> InvalidParameterError:
    given = moment.isoformat()
    return InvalidParameterError(f"{parameter} is {given}; it must lie {allowed}.", parameter=parameter, given=given)


def explain_validation_error(error: RequestValidationError | ValidationError) -> InvalidParameterError:
    """Return pydantic's error as one that names the parameter, what was given and what is allowed."""
    # A location is (name,) for pydantic and (where, name) for FastAPI.
    faults = [
        (str(fault["loc"][:2][-1]), str(fault["input"])[:_MAX_GIVEN_CHARS], fault["msg"]) for fault in error.errors()
    ]
    parameter, given, _ = faults[0]
    detail = " ".join(f"{name} is {value!r}: {allowed}." for name, value, allowed in faults)
    return InvalidParameterError(detail, parameter=parameter, given=given)
