"""Sentences for the reasons why the scheduler starts a batch: of batches and of answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dashboard import wording
from lightbox_client.contract import Classification, HistoryRequest

NOTABLE_QUEUE_MS = 5.0
"""Shortest time in the queue that is mentioned; below it is the change of threads."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason to start a batch.

    `name` is for tables, `explanation` for tooltips. `phrase` ends the sentence "Ran in a batch of 4, …"; it is true of
    every image of the batch.
    """

    name: str
    phrase: str
    explanation: str


_REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        "lane_free": Reason(
            "No batching delay",
            "no batching delay",
            "A lane was free, so the batch ran at once. Any time in the queue was for a decode thread or a CPU.",
        ),
        "backlog": Reason(
            "From the queue",
            "as soon as a lane was free",
            "Every lane was busy; as one became free it took its share of what waited, up to the max batch.",
        ),
        "held": Reason(
            "Waited to fill a batch",
            "after a wait for more images",
            "A lane was free and waited for more images: a larger batch gains throughput, and the target allows it.",
        ),
        "bisected": Reason(
            "Retried after a failure",
            "again after its first batch failed",
            "The first batch failed; its images ran again in smaller ones, to find the one that makes it fail.",
        ),
        "shrunk": Reason(
            "Retried after out-of-memory",
            "again after its first batch ran out of memory",
            "The first batch needed more memory than there was; its images ran again in smaller ones.",
        ),
        "recovered": Reason(
            "Retried after a lost lane",
            "again after its lane was lost",
            "The lane that ran the image died; another lane ran it again.",
        ),
        "cached": Reason(
            "Served from cache",
            "the model did not run",
            "No batch ran: the answer was kept from an earlier request, or came from an identical one in flight.",
        ),
    }
)


def reason(code: str) -> Reason:
    """Explain a reason; an unknown code is written as words, an empty one stays empty."""
    spelt_out = code.replace("_", " ")
    return _REASONS.get(code) or Reason(wording.capitalise(spelt_out), spelt_out, "")


def answer_path(answer: Classification | HistoryRequest) -> str:
    """Say in one sentence how an answer was computed, and its time in the queue from `NOTABLE_QUEUE_MS` on."""
    waited = wording.milliseconds(answer.timings_ms.queue) if answer.timings_ms.queue >= NOTABLE_QUEUE_MS else ""
    if answer.cached:
        return "Served from cache; the model did not run" + (f" ({waited} in the queue)" if waited else "")
    company = "Ran alone" if answer.batch_size == 1 else f"Ran in a batch of {answer.batch_size}"
    phrase = reason(answer.dispatch).phrase
    for_what = "waiting for a CPU" if answer.dispatch == "lane_free" else "in the queue"
    return company + (f", {phrase}" if phrase else "") + (f" ({waited} {for_what})" if waited else "")
