import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.evaluation.figures import LEAST_PROBABILITY, Confusion, Figures, Share
from bento_service.evaluation.folders import Photograph
from bento_service.evaluation.tally import MAX_MISTAKES, NO_ANSWER, Scored, Tally

LABELS = ("cat", "dog", "fox")


def score(*probabilities: float, right: int, total_ms: float = 10.0) -> Scored:
    best = sorted(enumerate(probabilities), key=lambda one: (-one[1], one[0]))[:5]
    return Scored(best, probabilities[right], total_ms=total_ms, decode_ms=1.0, inference_ms=4.0)


def tally(answers: Sequence[tuple[int, tuple[float, ...]]], labels: Sequence[str] = LABELS) -> Figures:
    counted = Tally(labels)
    for number, (right, probabilities) in enumerate(answers):
        counted.add(Photograph(f"{number}.jpg", right), score(*probabilities, right=right))
    return counted.finish(2.0)


FOUR = (
    (0, (0.9, 0.1, 0.0)),
    (0, (0.3, 0.6, 0.1)),
    (1, (0.2, 0.7, 0.1)),
    (2, (0.5, 0.4, 0.1)),
)


def test_four_photographs_give_the_figures_that_a_person_computes() -> None:
    figures = tally(FOUR)

    assert (figures.right, figures.accuracy.value, figures.top5) == (2, 0.5, None)
    assert figures.log_loss == pytest.approx(-math.log(0.9 * 0.3 * 0.7 * 0.1) / 4)
    cat, dog, fox = figures.classes
    assert (cat.precision, cat.recall, cat.f1) == (0.5, 0.5, 0.5)
    assert (dog.precision, dog.recall) == (0.5, 1.0)
    assert dog.f1 == pytest.approx(2 / 3)
    assert (fox.precision, fox.recall, fox.f1) == (None, 0.0, 0.0)
    assert figures.mean_recall == 0.5
    assert figures.confusions == (Confusion(0, 0, 1), Confusion(0, 1, 1), Confusion(1, 1, 1), Confusion(2, 0, 1))
    assert [(one.path, one.score, one.true_score) for one in figures.mistakes] == [
        ("1.jpg", 0.6, 0.3),
        ("3.jpg", 0.5, 0.1),
    ]
    assert figures.calibration_error == pytest.approx((0.1 + 0.6 + 0.3 + 0.5) / 4)
    assert (figures.speed.images_per_s, figures.speed.decode_ms, figures.speed.inference_ms) == (2.0, 1.0, 4.0)


def test_the_interval_is_wilsons() -> None:
    # The textbook's: 8 of 10, by Wilson 0.4902 to 0.9433; and 0 of 10 up to z²/(n + z²).
    share, none = Share.of(8, 10), Share.of(0, 10)

    assert (round(share.low, 4), round(share.high, 4)) == (0.4902, 0.9433)
    assert (none.low, round(none.high, 4)) == (0.0, 0.2775)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_an_interval_holds_its_share_and_stays_within_0_and_1(total: int, part: float) -> None:
    share = Share.of(round(total * part), total)

    assert 0 <= share.low <= share.value <= share.high <= 1


SCORES = st.integers(0, 999).map(lambda thousandths: (thousandths + 0.5) / 1000)  # none on the edge of a bin
ANSWERS = st.lists(
    st.tuples(st.integers(0, 7), st.lists(SCORES, min_size=8, max_size=8).map(tuple)), min_size=1, max_size=30
)


@given(ANSWERS)
def test_the_figures_are_those_of_the_whole_matrix_of_scores(answers: list[tuple[int, tuple[float, ...]]]) -> None:
    figures = tally(answers, labels=[f"class {number}" for number in range(8)])

    right = np.array([one for one, _ in answers])
    scores = np.array([probabilities for _, probabilities in answers])
    ranking = np.argsort(-scores, axis=1, kind="stable")
    is_right = ranking[:, 0] == right
    assert figures.accuracy.value == pytest.approx(is_right.mean())
    assert figures.top5 is not None
    assert figures.top5.value == pytest.approx((ranking[:, :5] == right[:, None]).any(axis=1).mean())
    of_right = np.clip(scores[np.arange(len(right)), right], LEAST_PROBABILITY, 1)
    assert figures.log_loss == pytest.approx(-np.log(of_right).mean())
    assert figures.reliability is not None
    best = scores.max(axis=1)
    for one in figures.reliability:
        assert one.count == ((best > one.low) & (best <= one.high)).sum()
    assert sum(one.count for one in figures.reliability) == len(answers)
    assert sum(one.photographs for one in figures.classes) == sum(one.named for one in figures.classes) == len(answers)


@given(st.lists(st.floats(0.34, 1), max_size=60))
def test_the_worst_mistakes_are_kept_and_no_more(wrong: list[float]) -> None:
    figures = tally([(0, (0.99, 0.01, 0.0)), *((0, (1 - one, one, 0.0)) for one in wrong if one > 0.5)])

    expected = sorted((one for one in wrong if one > 0.5), reverse=True)[:MAX_MISTAKES]
    assert [mistake.score for mistake in figures.mistakes] == expected


def test_photographs_without_an_answer_are_named_and_in_no_figure() -> None:
    counted = Tally(LABELS)
    counted.add(Photograph("a.jpg", 1), score(0.1, 0.9, 0.0, right=1))
    counted.add_failure(Photograph("b.jpg", 1), "undecodable_image", "truncated")

    figures = counted.finish(1.0)

    assert (figures.photographs, figures.answered, figures.accuracy.value) == (2, 1, 1.0)
    assert [(one.path, one.code) for one in figures.failures] == [("b.jpg", "undecodable_image")]
    assert list(counted.verdicts) == [1, NO_ANSWER]


def test_independent_scores_have_no_log_loss_and_no_reliability() -> None:
    counted = Tally(LABELS, are_probabilities=False)
    counted.add(Photograph("a.jpg", 1), score(0.8, 0.9, 0.0, right=1))

    figures = counted.finish(1.0)

    assert (figures.accuracy.value, figures.log_loss, figures.calibration_error, figures.reliability) == (
        1,
        None,
        None,
        None,
    )


def test_times_are_of_the_answers_that_were_computed() -> None:
    counted = Tally(LABELS)
    for number in range(20):
        counted.add(Photograph("a.jpg", 0), score(0.9, 0.1, 0.0, right=0, total_ms=number))
    counted.add(Photograph("b.jpg", 0), Scored([(0, 0.9)], 0.9, is_cached=True, total_ms=0.1))

    speed = counted.finish(3.0).speed

    assert (speed.cached, speed.total_ms_p50, speed.total_ms_p95, speed.images_per_s) == (1, 10.0, 19.0, 7.0)
