"""Explanations: which part of an image speaks for a class."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.requests import Answer, Prediction


class Method(StrEnum):
    """How a class is explained."""

    CAM = "cam"
    """A class activation map: what each cell of the last feature map adds to the class's logit (Zhou et al., Learning
    Deep Features for Discriminative Localization, 2016)."""
    OCCLUSION = "occlusion"
    """How far the score falls where a part of the image is covered (Zeiler and Fergus, Visualizing and Understanding
    Convolutional Networks, 2014)."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on an upright image, in its pixels; it may reach beyond the image's edges."""

    left_px: float
    top_px: float
    width_px: float
    height_px: float


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What speaks for one class of an answered image.

    `grid`, f32 with the shape (rows, columns), lies on `box` of the upright image. Of `CAM` its values are
    contributions to the class's logit, which is their mean plus `bias`; of `OCCLUSION`, where `bias` is None, the fall
    of log(score) when the cell is covered. `png` is the picture of it, if one was asked for.
    """

    answer: Answer
    method: Method
    explained: Prediction
    grid: NDArray[np.float32]
    bias: float | None
    box: Box
    png: bytes | None = None

    @property
    def is_exact(self) -> bool:
        """Whether the map is the model's own sum, and no estimate."""
        return self.method is Method.CAM
