"""Why a batch went when it did, in plain words, for batches and for the answers that came from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lightbox_client.contract import Classification, HistoryRequest


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason to dispatch: its `name` in a table, `phrase` in an answer's sentence, `explanation` on demand."""

    name: str
    phrase: str
    explanation: str


_REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        "lane_free": Reason(
            "at once", "a lane was free", "A lane was idle as the image came, so it ran without waiting for others."
        ),
        "backlog": Reason(
            "from the queue",
            "waited until a lane came free",
            "Every lane was busy; as one came free it took its share of what waited, up to the ceiling.",
        ),
        "held": Reason(
            "held for company",
            "waited for other images, since a larger batch is faster",
            "A lane was idle and waited for more images: a larger batch gains throughput, and the target allows it.",
        ),
        "bisected": Reason(
            "after a failure",
            "ran again in a smaller batch after another image failed",
            "Its batch failed; it ran again in a smaller one, to find the one image that is to blame.",
        ),
        "shrunk": Reason(
            "after short memory",
            "ran again in a smaller batch, for want of memory",
            "Its batch found too little memory; it ran again in a smaller one.",
        ),
        "recovered": Reason(
            "after a lost lane",
            "ran again after its lane was lost",
            "The lane that had taken it died; another ran it again.",
        ),
        "cached": Reason(
            "from the cache",
            "answered from the cache",
            "No batch ran: the answer was kept from an earlier request, or came from an identical one in flight.",
        ),
    }
)


def reason(code: str) -> Reason:
    """Explain one of the service's reasons; one that is new to this dashboard is spelt out, and none is left empty."""
    spelt_out = code.replace("_", " ")
    return _REASONS.get(code) or Reason(spelt_out, spelt_out, "")


def answer_path(answer: Classification | HistoryRequest) -> str:
    """Say how the runner came by an answer."""
    if answer.cached:
        return "Served from cache; the model did not run"
    phrase = reason(answer.dispatch).phrase
    company = "alone" if answer.batch_size == 1 else f"in a batch of {answer.batch_size}"
    return f"{company}, {phrase}" if phrase else company
