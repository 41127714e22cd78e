import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bento_service.cli.classification import Classified, classify_in_order, in_process
from bento_service.errors import LightboxError, UndecodableImageError, UnknownModelError
from tests.fakes.classifier import FakeClassifier, Gate

if TYPE_CHECKING:
    from bento_service.pipeline.classifier import Classifier


pytestmark = pytest.mark.anyio


async def classify_all(
    classifier: FakeClassifier, paths: list[Path], *, model: str | None = None, concurrency: int = 2
) -> list[Classified]:
    @asynccontextmanager
    async def opened() -> "AsyncIterator[Classifier]":
        yield classifier

    async with in_process(opened, model=model, top_k=3) as classify:
        return [outcome async for outcome in classify_in_order(paths, classify, concurrency=concurrency)]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    names = [tmp_path / f"{number}.png" for number in range(9)]
    for path in names:
        path.write_text(path.name)
    return names


async def test_answers_come_in_the_order_of_the_files_as_the_contract_has_them(paths: list[Path]) -> None:
    classifier = FakeClassifier()

    outcomes = await classify_all(classifier, paths)

    assert [outcome.item for outcome in outcomes] == paths
    answers = [outcome.answer for outcome in outcomes if outcome.answer]
    assert sorted(classifier.images) == sorted(path.read_bytes() for path in paths)
    assert (answers[0].image.width, answers[0].timings_ms.total, len(answers[0].predictions)) == (451, 13.0, 3)
    assert len({answer.request_id for answer in answers}) == len(paths)


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_as_many_files_as_asked_for_are_in_flight(paths: list[Path], concurrency: int) -> None:
    gate = Gate()
    classifier = FakeClassifier(gate=gate)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(classify_all(classifier, paths, concurrency=concurrency))
        await gate.wait_for_arrivals(concurrency)
        gate.open()

    assert classifier.most_in_flight == concurrency


async def test_a_bad_image_and_a_missing_file_fail_alone(paths: list[Path]) -> None:
    def fail(encoded: bytes) -> LightboxError | None:
        return UndecodableImageError("truncated") if encoded == b"0.png" else None

    paths[1].unlink()

    bad, gone, good = await classify_all(FakeClassifier(fail=fail), paths[:3])

    failures = [(one.failure.code, one.failure.message) for one in (bad, gone) if one.failure]
    assert failures == [("undecodable_image", "truncated"), ("unreadable_file", "No such file or directory")]
    assert good.answer is not None


async def test_a_model_that_does_not_exist_ends_the_run(paths: list[Path]) -> None:
    with pytest.raises(UnknownModelError):
        await classify_all(FakeClassifier(), paths, model="nothing")
