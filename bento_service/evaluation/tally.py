"""Adds up the answers of one model, photograph by photograph, in memory that does not grow with the classes."""

import heapq
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bento_service.evaluation.figures import (
    BINS,
    LEAST_PROBABILITY,
    TOP,
    Bin,
    ClassFigures,
    Confusion,
    Failure,
    Figures,
    Mistake,
    Share,
    Speed,
)
from bento_service.evaluation.folders import Photograph

MAX_MISTAKES = 24
MAX_FAILURES = 1000
"""Failures that are kept with their reasons; all are counted."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A model's answer to one photograph, as far as the figures need it.

    `best` holds the class ids and scores of the best classes, five or all, best first; `true_score` is that of the
    right one. `inference_ms` is the photograph's part of its batch.
    """

    best: Sequence[tuple[int, float]]
    true_score: float
    is_cached: bool = False
    decode_ms: float = 0.0
    inference_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(slots=True)
class _OpenBin:
    """Sums over the photographs whose best score lies in a bin."""

    count: int = 0
    confidence: float = 0.0
    right: int = 0


class Tally:
    """The running sums of one model. `labels` are the model's; `are_probabilities` says that its scores sum to 1."""

    def __init__(self, labels: Sequence[str], *, are_probabilities: bool = True) -> None:
        self._labels = labels
        self._are_probabilities = are_probabilities
        self._verdicts = bytearray()
        self._in_top = 0
        self._loss = 0.0
        self._confusions: Counter[tuple[int, int]] = Counter()
        self._bins = [_OpenBin() for _ in range(BINS)]
        self._mistakes: list[tuple[float, int, Mistake]] = []
        self._failed: Counter[str] = Counter()
        self._failures: list[Failure] = []
        self._cached = 0
        self._decode_ms = self._inference_ms = 0.0
        self._total_ms = array("f")

    @property
    def verdicts(self) -> Sequence[int]:
        """For each photograph, in the order that they were added: 1 right, 0 wrong, `NO_ANSWER` none."""
        return self._verdicts

    @property
    def answered(self) -> int:
        """Photographs that got an answer."""
        return len(self._verdicts) - self._failed.total()

    def add(self, photograph: Photograph, scored: Scored) -> None:
        """Count an answer."""
        named_id, score = scored.best[0]
        is_right = named_id == photograph.class_id
        self._verdicts.append(is_right)
        self._in_top += any(class_id == photograph.class_id for class_id, _ in scored.best[:TOP])
        self._loss -= math.log(min(1.0, max(LEAST_PROBABILITY, scored.true_score)))
        self._confusions[photograph.class_id, named_id] += 1
        chosen = self._bins[max(0, min(BINS, math.ceil(score * BINS)) - 1)]
        chosen.count += 1
        chosen.confidence += score
        chosen.right += is_right
        if not is_right:
            self._keep_mistake(Mistake(photograph.path, photograph.class_id, named_id, score, scored.true_score))
        if scored.is_cached:
            self._cached += 1
        else:
            self._decode_ms += scored.decode_ms
            self._inference_ms += scored.inference_ms
            self._total_ms.append(scored.total_ms)

    def add_failure(self, photograph: Photograph, code: str, message: str) -> None:
        """Count a photograph without an answer."""
        self._verdicts.append(NO_ANSWER)
        self._failed[code] += 1
        if len(self._failures) < MAX_FAILURES:
            self._failures.append(Failure(photograph.path, code, message))

    def finish(self, wall_s: float) -> Figures:
        """Return the figures; at least one photograph was answered, and all took `wall_s` seconds."""
        answered = self.answered
        counted = self._count_classes()
        seen = [one for one in counted if one.photographs]
        right = sum(one.right for one in counted)
        confusions = sorted(self._confusions.items(), key=lambda item: (-item[1], item[0]))
        return Figures(
            photographs=len(self._verdicts),
            answered=answered,
            right=right,
            accuracy=Share.of(right, answered),
            top5=Share.of(self._in_top, answered) if len(self._labels) > TOP else None,
            log_loss=self._loss / answered if self._are_probabilities else None,
            calibration_error=self._calibration_error() if self._are_probabilities else None,
            reliability=self._make_bins() if self._are_probabilities else None,
            mean_recall=math.fsum(one.recall or 0.0 for one in seen) / len(seen),
            mean_f1=math.fsum(one.f1 or 0.0 for one in seen) / len(seen),
            classes=counted,
            confusions=tuple(Confusion(*pair, count) for pair, count in confusions),
            mistakes=tuple(mistake for _, _, mistake in sorted(self._mistakes, reverse=True)),
            failed=dict(self._failed),
            failures=tuple(self._failures),
            speed=self._measure_speed(wall_s),
        )

    def _keep_mistake(self, mistake: Mistake) -> None:
        # Of equal scores the first one stays.
        entry = (mistake.score, -len(self._verdicts), mistake)
        if len(self._mistakes) < MAX_MISTAKES:
            heapq.heappush(self._mistakes, entry)
        else:
            heapq.heappushpop(self._mistakes, entry)

    def _count_classes(self) -> tuple[ClassFigures, ...]:
        photographs: Counter[int] = Counter()
        named: Counter[int] = Counter()
        for (class_id, named_id), count in self._confusions.items():
            photographs[class_id] += count
            named[named_id] += count
        return tuple(
            ClassFigures(one, self._labels[one], photographs[one], named[one], self._confusions.get((one, one), 0))
            for one in sorted(photographs.keys() | named.keys())
        )

    def _make_bins(self) -> tuple[Bin, ...]:
        return tuple(
            Bin(number / BINS, (number + 1) / BINS, one.count, one.confidence / one.count, one.right / one.count)
            for number, one in enumerate(self._bins)
            if one.count
        )

    def _calibration_error(self) -> float:
        """Return the expected calibration error: the mean of |confidence - accuracy| of the bins, by their counts."""
        return math.fsum(abs(one.confidence - one.right) for one in self._bins) / self.answered

    def _measure_speed(self, wall_s: float) -> Speed:
        count, sorted_ms = len(self._total_ms), sorted(self._total_ms)
        return Speed(
            wall_s=wall_s,
            images_per_s=len(self._verdicts) / wall_s,
            cached=self._cached,
            decode_ms=self._decode_ms / count if count else None,
            inference_ms=self._inference_ms / count if count else None,
            total_ms_p50=sorted_ms[count // 2] if count else None,
            total_ms_p95=sorted_ms[int(count * 0.95)] if count else None,
        )


NO_ANSWER = 2
