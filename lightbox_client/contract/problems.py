"""Errors: `application/problem+json`."""

from pydantic import BaseModel, ConfigDict


class Problem(BaseModel):
    """An error as RFC 9457 `application/problem+json`; further members, such as a limit, are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
