"""Memory that is short for large batches makes batches small for a while, and costs no image."""

import pytest

from tests.fakes.faulty_engine import FaultyEngine, short_of_memory
from tests.faults.books import check_books, check_rest
from tests.faults.clients import Reply, ask_all, number_requests
from tests.faults.service import serving
from tests.faults.wiring import LARGEST_BATCH, FaultedService

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
ROUNDS = 100
"""Of a tenth of a second each: probing back takes a second for each doubling of the ceiling."""


async def heal(service: FaultedService) -> list[Reply]:
    """Load the service until its ceiling is as it was."""
    replies: list[Reply] = []
    for turn in range(ROUNDS):
        replies += await ask_all(service.port, number_requests(f"healed-{turn}", images=range(100)))
        if service.ceiling == LARGEST_BATCH:
            return replies
    raise AssertionError(f"after {ROUNDS} rounds the ceiling is still {service.ceiling}")


async def test_memory_that_runs_short_halves_the_ceiling_and_probes_back_without_a_failure() -> None:
    engine = FaultyEngine()
    with serving(engine) as service:
        assert service.ceiling == LARGEST_BATCH
        engine.faults = (short_of_memory(2),)
        during = await ask_all(service.port, number_requests("short", images=range(400)))
        short_ceiling = service.ceiling
        engine.faults = ()
        after = await heal(service)

        check_books(service, [*during, *after], outcomes=["ok"])
        assert short_ceiling < LARGEST_BATCH
        assert {reply.document["batch_size"] for reply in during} <= {1, 2}
        assert service.count("lightbox_out_of_memory_total") >= 1
        assert max(reply.document["batch_size"] for reply in after) > 2
        await check_rest(service)
