"""What has to hold whatever went wrong: nothing lost on either side, and a service as good as before."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from bento_service.domain.requests import OUTCOME_OK, Priority
from tests.fakes.faulty_engine import LOAD_IMAGES
from tests.faults.clients import Reply, Request, ask, number_requests
from tests.faults.service import LANES, FaultedService

SERVED_OR_REJECTED = frozenset({OUTCOME_OK, "overloaded"})
LANE_IMAGE = LOAD_IMAGES
LONE_IMAGE = LANE_IMAGE + LANES


def check_books(
    service: FaultedService,
    replies: Sequence[Reply],
    *,
    outcomes: Collection[str] = SERVED_OR_REJECTED,
    culprits: Collection[int] = (),
    hung_up: Collection[Request] = (),
) -> None:
    """Hold the clients' answers against the receipts.

    Args:
        service: Whose receipts.
        replies: Every answer that clients got.
        outcomes: How a request may have ended.
        culprits: The images at fault: they must have failed as often as they were run, and no other may.
        hung_up: The requests whose clients went away after the headers, perhaps when all was over.
    """
    service.book.wait_for(len(replies) + len(hung_up))
    receipts = {receipt.request_id: receipt for receipt in service.book.receipts}
    asked = [reply.request.request_id for reply in replies] + [request.request_id for request in hung_up]
    assert Counter(receipt.request_id for receipt in service.book.receipts) == Counter(asked)
    failures = ("inference_failed",) if culprits else ()
    for reply in replies:
        receipt = receipts[reply.request.request_id]
        assert receipt.outcome == reply.outcome == reply.document.get("code", OUTCOME_OK)
        assert reply.outcome in (*outcomes, *(failures if reply.request.image in culprits else ()))
        if reply.outcome == OUTCOME_OK:
            assert reply.request.image not in culprits
            assert reply.label == receipt.top[0].label == f"image {reply.request.image}"
    assert {receipts[request.request_id].outcome for request in hung_up} <= {"cancelled", *outcomes, *failures}


async def check_rest(service: FaultedService) -> None:
    """Find the service at rest with every lane alive, and as good as new for whoever comes next.

    No client may be at work.
    """
    await asyncio.to_thread(service.settle)
    with service.engine.held():
        asking = await fill_lanes(service, "lane", range(LANE_IMAGE, LANE_IMAGE + LANES))
    assert {reply.label for reply in await asyncio.gather(*asking)} == {f"image {LANE_IMAGE + n}" for n in range(LANES)}
    for image, priority in enumerate(Priority, LONE_IMAGE):
        reply = await ask(service.port, Request(f"lone-{priority}", image, priority))
        assert (reply.outcome, reply.label, reply.document["batch_size"]) == (OUTCOME_OK, f"image {image}", 1)
    await check_counts(service)


async def check_counts(service: FaultedService) -> None:
    """Find nothing in any part of the service, once the threads have put away what nobody wants any more."""
    await asyncio.to_thread(service.settle)
    assert (service.classifier.in_flight, service.classifier.predicted_wait_ms) == (0, 0)
    assert (len(service.scheduler.queue), service.scheduler.queue.expected) == (0, 0)
    assert service.count("lightbox_queue_depth_images") == 0


async def fill_lanes(service: FaultedService, prefix: str, images: Iterable[int]) -> "list[asyncio.Task[Reply]]":
    """Give each lane of a held engine one image to run."""
    asking = []
    for request in number_requests(prefix, images=images):
        asking.append(asyncio.create_task(ask(service.port, request)))
        await asyncio.to_thread(service.engine.wait_for_lane)
    return asking
