import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bento_service.cli.classification import Outcome, classify_in_order
from bento_service.cli.in_process import InProcessClassifier, Pending, in_process
from bento_service.domain.requests import Answer, ImageInfo, Prediction, Receipt, Timings
from bento_service.errors import LightboxError, UndecodableImageError, UnknownModelError


@dataclass
class FakeClassifier:
    """Answers with a cat, or fails as it is told; counts how many images are in flight."""

    error: LightboxError | None = None
    requests: list[tuple[str | None, int]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    def open(
        self, *, request_id: str, model: str | None, top_k: int, deadline_ms: float | None, started_s: float
    ) -> AbstractContextManager[Pending]:
        self.requests.append((model, top_k))
        return nullcontext(FakePending(self, request_id))


@dataclass
class FakePending:
    classifier: FakeClassifier
    request_id: str

    async def classify(self, encoded: bytes) -> Answer:
        if self.classifier.error is not None:
            raise self.classifier.error
        self.classifier.in_flight += 1
        self.classifier.most_in_flight = max(self.classifier.most_in_flight, self.classifier.in_flight)
        for _ in range(20):
            await asyncio.sleep(0)  # lets the other images in
        self.classifier.in_flight -= 1
        cat = Prediction(285, encoded.decode(), 0.5)
        image = ImageInfo("PNG", 60, 40)
        timings = Timings(receive_ms=1, decode_ms=2, queue_ms=3, inference_ms=4, total_ms=11)
        receipt = Receipt(self.request_id, datetime.now(UTC), "lite", "v1", "ok", timings, (cat,), batch_size=1)
        return Answer(receipt, (cat,), image, ("icc_ignored",))


def classify_all(classifier: FakeClassifier, paths: list[Path], *, concurrency: int = 2) -> list[Outcome]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[InProcessClassifier]:
        yield classifier

    async def run() -> list[Outcome]:
        async with in_process(opened, model="lite", top_k=3) as classify:
            return [outcome async for outcome in classify_in_order(paths, classify, concurrency=concurrency)]

    return asyncio.run(run())


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    names = [tmp_path / f"{number}.png" for number in range(9)]
    for path in names:
        path.write_text(path.name)
    return names


def test_answers_come_in_the_order_of_the_files_and_in_the_words_of_the_contract(paths: list[Path]) -> None:
    classifier = FakeClassifier()

    outcomes = classify_all(classifier, paths)

    assert [outcome.path for outcome in outcomes] == paths
    answers = [outcome.answer for outcome in outcomes if outcome.answer]
    assert [answer.predictions[0].label for answer in answers] == [path.name for path in paths]
    assert (answers[0].image.width, answers[0].timings_ms.total, answers[0].warnings) == (60, 11, ["icc_ignored"])
    assert len({answer.request_id for answer in answers}) == len(paths)
    assert set(classifier.requests) == {("lite", 3)}


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_files_than_asked_for_are_in_flight(paths: list[Path], concurrency: int) -> None:
    classifier = FakeClassifier()

    classify_all(classifier, paths, concurrency=concurrency)

    assert 1 <= classifier.most_in_flight <= concurrency


def test_an_image_that_cannot_be_decoded_fails_alone(paths: list[Path]) -> None:
    outcomes = classify_all(FakeClassifier(error=UndecodableImageError("truncated")), paths[:2])

    assert [(o.failure.code, o.failure.message) for o in outcomes if o.failure] == [
        ("undecodable_image", "truncated")
    ] * 2


def test_a_file_that_vanished_fails_alone(paths: list[Path]) -> None:
    paths[0].unlink()

    gone, there = classify_all(FakeClassifier(), paths[:2])

    assert gone.failure is not None
    assert (gone.failure.code, gone.failure.message) == ("unreadable_file", "No such file or directory")
    assert there.answer is not None


def test_a_model_that_does_not_exist_ends_the_run(paths: list[Path]) -> None:
    with pytest.raises(UnknownModelError):
        classify_all(FakeClassifier(error=UnknownModelError("no such model")), paths)
