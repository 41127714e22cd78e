"""Answers of `/v1/explain`: where in the photograph a model sees a class."""

from typing import Literal

from pydantic import Field

from lightbox_client.contract.answers import SCORE_KIND, ImageInfo, ModelRef, TimingsMs
from lightbox_client.contract.wire import WireModel

ExplanationMethod = Literal["cam", "occlusion"]
"""`cam`: a class activation map. `occlusion`: how far the score falls where a part of the image is covered."""
MethodChoice = Literal["auto", "cam", "occlusion"]
"""`auto` is `cam` where the model has it, else `occlusion`."""


class Box(WireModel):
    """A rectangle on the upright photograph, in its pixels; it may reach beyond the photograph's edges."""

    left: float
    top: float
    width: float
    height: float


class Explanation(WireModel):
    """What speaks for one class, and where.

    `score` is the class's, of `score_kind`. `image` is the photograph as it was sent.
    """

    request_id: str
    model: ModelRef
    method: ExplanationMethod
    is_exact: bool = Field(description="Whether the map is the model's own sum (`cam`), not an estimate (`occlusion`).")
    class_id: int
    label: str
    score: float
    score_kind: str = Field(default="softmax", description=SCORE_KIND)
    grid: list[list[float]] = Field(
        description="One value a cell, in rows from top to bottom of the upright photograph. `cam`: the cell's "
        "contribution to the class's logit. `occlusion`: the fall of log(score) where the cell is covered."
    )
    bias: float | None = Field(
        description="`cam`: the mean of `grid` plus this is the class's logit. null for `occlusion`."
    )
    box: Box = Field(description="Where `grid` lies on the upright photograph.")
    image: ImageInfo
    warnings: list[str]
    timings_ms: TimingsMs

    @property
    def strongest(self) -> Box:
        """The cell with the largest value, of those that have their middle on the photograph."""
        rows, columns = len(self.grid), len(self.grid[0])
        width, height = self.box.width / columns, self.box.height / rows
        cells = [
            (
                value,
                Box(left=self.box.left + column * width, top=self.box.top + row * height, width=width, height=height),
            )
            for row, values in enumerate(self.grid)
            for column, value in enumerate(values)
        ]
        # On a photograph that is thinner than a cell none has.
        shown = [cell for cell in cells if self._is_shown(cell[1])] or cells
        return max(shown, key=lambda cell: cell[0])[1]

    def _is_shown(self, cell: Box) -> bool:
        x, y = cell.left + cell.width / 2, cell.top + cell.height / 2
        return 0 <= x <= self.image.width and 0 <= y <= self.image.height
