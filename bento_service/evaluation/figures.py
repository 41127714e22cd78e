"""How well a model did on labelled photographs, in figures that a report can show and JSON can hold."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

LEAST_PROBABILITY = 1e-7
"""Smaller probabilities of the right class count as this one in the log loss: a f32 holds about seven digits."""
TOP = 5
BINS = 15
"""Of confidence, all of the same width (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Share:
    """A share of photographs with its 95 % confidence interval (Wilson's)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, count: int, total: int) -> "Share":
        """Return `count / total`; `total` is at least 1.

        Wilson 1927, as in https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval: it never leaves 0 to
        1 and holds for few photographs and for shares near 1.
        """
        share, spread = count / total, _Z95**2 / total
        centre = (share + spread / 2) / (1 + spread)
        half = _Z95 / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
        return cls(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class: its photographs, how often the model named it, and how often rightly.

    `precision` is None where the model never named it, `recall` and `f1` where it has no photograph.
    """

    class_id: int
    label: str
    photographs: int
    named: int
    right: int

    @property
    def precision(self) -> float | None:
        """Share of the photographs named so that are of this class."""
        return self.right / self.named if self.named else None

    @property
    def recall(self) -> float | None:
        """Share of the photographs of this class that were named so."""
        return self.right / self.photographs if self.photographs else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall."""
        return 2 * self.right / (self.photographs + self.named) if self.photographs else None


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many photographs of one class were named as a class, which may be the same."""

    class_id: int
    named_id: int
    count: int


@dataclass(frozen=True, slots=True)
class Bin:
    """Photographs whose best score lies in `(low, high]`: their number, mean score, and share that was right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Mistake:
    """A photograph that was named wrongly. `score` is that of `named_id`, `true_score` that of the right class."""

    path: str
    class_id: int
    named_id: int
    score: float
    true_score: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A photograph without an answer; `code` is the HTTP contract's."""

    path: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Speed:
    """The pace of the run, and milliseconds of the answers that were computed, not taken from a cache.

    `decode_ms` and `inference_ms` are means an image, a batch's inference divided by its size. `total_ms` counts
    waiting too. All are None where the cache gave every answer.
    """

    wall_s: float
    images_per_s: float
    cached: int
    decode_ms: float | None
    inference_ms: float | None
    total_ms_p50: float | None
    total_ms_p95: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """A model's figures over the photographs that it answered.

    Where scores are independent, a photograph counts as right if its class has the highest score; `log_loss`,
    `calibration_error` and `reliability` are None then, since nobody said which other classes are right too. `top5` is
    None where there are at most five classes. `classes` are those that have photographs or were named, `confusions` the
    pairs that occur, most first. `mean_recall` and `mean_f1` are over the classes with photographs. `failures` holds
    the first ones, `failed` counts all by code. `mistakes` are the worst: the highest scores of wrong classes.
    """

    photographs: int
    answered: int
    right: int
    accuracy: Share
    top5: Share | None
    log_loss: float | None
    calibration_error: float | None
    reliability: tuple[Bin, ...] | None
    mean_recall: float
    mean_f1: float
    classes: tuple[ClassFigures, ...]
    confusions: tuple[Confusion, ...]
    mistakes: tuple[Mistake, ...]
    failed: Mapping[str, int]
    failures: tuple[Failure, ...]
    speed: Speed
