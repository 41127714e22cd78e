"""A defect in the decoding of one image ends that request, and nothing else."""

import pytest

from bento_service.images.preprocessing import ImageLimits
from tests.fakes.faulty_engine import FaultyEngine, encode_numbered
from tests.faults.books import check_books, check_rest
from tests.faults.clients import ask_all, number_requests
from tests.faults.service import serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
IMAGES = 400


class TrappedLimit(int):
    """A limit that raises as it is held against every fifth size, as a defect of the intake would."""

    error: BaseException | None = None

    def __lt__(self, size: int) -> bool:
        if self.error is not None and is_trapped(size):
            raise self.error
        return super().__lt__(size)


def is_trapped(size: int) -> bool:
    return size % 5 == 0


# What is no `Exception` comes from a library that calls `sys.exit`, or that panics in Rust.
@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(1)], ids=["exception", "exit"])
async def test_a_defect_in_decoding_ends_one_request_and_no_thread(error: BaseException) -> None:
    engine = FaultyEngine()
    max_bytes = TrappedLimit(1_000_000)
    max_bytes.error = error
    trapped = {image for image in range(IMAGES) if is_trapped(len(encode_numbered(image)))}
    with serving(engine, limits=ImageLimits(max_bytes, max_pixels=10_000)) as service:
        replies = await ask_all(service.port, number_requests("r", images=range(IMAGES)))
        max_bytes.error = None

        check_books(service, replies, outcomes=["ok", "internal_error"])
        assert {reply.request.image for reply in replies if reply.outcome == "internal_error"} == trapped
        assert 0 < len(trapped) < IMAGES / 2
        assert not trapped & set(engine.runs)
        await check_rest(service)
