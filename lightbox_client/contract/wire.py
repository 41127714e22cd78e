"""The base of every message, and a value that several calls take."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Priority = Literal["interactive", "bulk"]
"""`interactive`, the default, for an image that a person waits for; `bulk` lets those go first."""


class WireModel(BaseModel):
    """Base of every message: immutable."""

    model_config = ConfigDict(frozen=True)
