"""The sentences on the pages. Pure functions; all return plain text, except `Outage.text`, which is Markdown."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from types import MappingProxyType
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dashboard.markdown import literal
from lightbox_client import LightboxClientError, ProblemError
from lightbox_client.contract import Classification, DeviceInfo, HistoryRequest, ModelCard, Prediction
from lightbox_client.errors import (
    InvalidImageError,
    InvalidRequestError,
    NotReadyError,
    ServiceTimeoutError,
    UnexpectedAnswerError,
)

CONFIDENT_FROM = 0.5
"""From here on the best class has more probability than all others together."""
DOUBTFUL_BELOW = 0.2
SOFTMAX = "softmax"
"""The kind of scores that sum to one."""
NAMES_SHOWN = 5
SHOWN_BYTES = 8
_BYTES_PER_GIB = 2**30
_NOUN = re.compile(r"[A-Za-z][A-Za-z' -]*")
_OUTCOMES: Mapping[str, str] = MappingProxyType(
    {"ok": "Answered", "overloaded": "Rejected (overload)", "cancelled": "Cancelled by client"}
)

_WARNINGS: Mapping[str, str] = MappingProxyType(
    {
        "first_frame_used": "An animation or a document of several pages; only the first was classified.",
        "icc_profile_ignored": "The image's colour profile was ignored, as it is in training.",
        "metadata_ignored": "Damaged metadata (a profile, EXIF or text) were left out; the picture is whole.",
        "scaled_decoding": "A large photograph was scaled while decoding, to save time; scores may differ slightly.",
        "damage_tolerated": "The file is slightly damaged; part of the picture may be wrong.",
        "bit_depth_reduced": "The image has more than 8 bits a channel; the model saw 8.",
        "range_stretched": "The values have no known scale; the lowest was shown as black, the highest as white.",
        "greyscale_converted": "A greyscale image; the model saw it as RGB.",
        "palette_converted": "An image with a colour palette; it was converted to RGB.",
        "cmyk_converted": "An image for print (CMYK); its colours were converted to RGB.",
        "lab_converted": "The image's colours (CIE L*a*b*) were converted to RGB.",
        "alpha_flattened": "The image is transparent in places; the model saw white there.",
        "exif_orientation_applied": "Rotated to match the photo's orientation tag.",
        "inexact_model": "This way of running the model is less exact than its reference; scores may differ.",
    }
)


def headline(predictions: Sequence[Prediction], score_kind: str = SOFTMAX) -> str:
    """Name the best class, no more surely than its score allows; of independent scores, each class that applies."""
    best = predictions[0]
    if score_kind != SOFTMAX:
        labels = [prediction.label for prediction in predictions if prediction.score >= CONFIDENT_FROM]
        if not labels:
            return f"Nothing recognised. Highest score: {best.label} ({percent(best.score)})"
        more = f" and {len(labels) - NAMES_SHOWN} more" if len(labels) > NAMES_SHOWN else ""
        return capitalise(", ".join(labels[:NAMES_SHOWN])) + more
    if best.score >= CONFIDENT_FROM:
        return capitalise(best.label)
    if best.score >= DOUBTFUL_BELOW:
        return f"Probably {with_article(best.label)} ({percent(best.score)})"
    return f"Not recognised. Best guess: {best.label} ({percent(best.score)})"


def subline(predictions: Sequence[Prediction], score_kind: str = SOFTMAX) -> str:
    """Say how sure the model is or, below one half, what else it may be; empty where there is nothing else."""
    best, rest = predictions[0], predictions[1:3]
    if score_kind != SOFTMAX:
        return "Each class has a score of its own; they do not sum to 100%."
    if best.score >= CONFIDENT_FROM:
        return f"{percent(best.score)} sure"
    others = ", ".join(f"{prediction.label} ({percent(prediction.score)})" for prediction in rest)
    return f"Other guesses: {others}" if others else ""


def summary(answer: Classification) -> str:
    """Write an answer in one line, with the score of the best class."""
    said, best = headline(answer.predictions, answer.score_kind), answer.predictions[0]
    if best.score < CONFIDENT_FROM:
        return said
    return f"{said} ({percent(best.score)})" if answer.score_kind == SOFTMAX else said


def with_article(label: str) -> str:
    """Put a or an before a label; one that looks like a plural or like no English noun stays as it is."""
    if label.endswith("s") or not _NOUN.fullmatch(label):
        return label
    is_vowel = label[0].lower() in "aeiou" and not label.lower().startswith(("uni", "use", "eu", "one"))
    return f"{'an' if is_vowel else 'a'} {label}"


def percent(share: float) -> str:
    """Write a share in [0, 1] as per cent; only 0 and 1 themselves are written as 0% and 100%."""
    if 0.999 <= share < 1:
        return "> 99.9%"
    if 0 < share < 0.001:
        return "< 0.1%"
    return f"{share:.0%}" if 0.1 <= share < 0.99 else f"{share:.1%}"


def skipped(names: Sequence[str], *, max_files: int, max_total_mb: int) -> str:
    """Name the files that were skipped because of the limits."""
    files = "1 file" if len(names) == 1 else f"{len(names)} files"
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (
        f"{files} skipped: {', '.join(names[:NAMES_SHOWN])}{more}. "
        f"At most {max_files} images and {max_total_mb} MB at a time here."
    )


def receipt_headline(receipt: HistoryRequest) -> str:
    """Return the headline of a receipt: the best class, or the outcome."""
    return headline(receipt.predictions, receipt.score_kind) if receipt.predictions else outcome(receipt.outcome)


def outcome(code: str) -> str:
    """Return the name of an outcome, by the code in a receipt."""
    return _OUTCOMES.get(code) or capitalise(code.replace("_", " "))


def capitalise(text: str) -> str:
    """Raise the first letter and leave the others as they are."""
    return text[:1].upper() + text[1:]


def warning(code: str) -> str:
    """Explain a warning; an unknown code is written as words."""
    return _WARNINGS.get(code) or capitalise(code.replace("_", " ")) + "."


def model_line(card: ModelCard) -> str:
    """Describe a model in one line."""
    size = input_size(card)
    classes = f"{card.labels_count:,} classes" + ("" if card.score_kind == SOFTMAX else ", independent")
    licence = "licence unknown" if card.licence == "unknown" else card.licence
    engine = engine_and_device(f"{card.engine} {card.precision}", card.device)
    return f"{classes} · {size} · {engine} · {licence}"


def input_size(card: ModelCard) -> str:
    """Describe a model's input."""
    return f"{card.input_size.width} × {card.input_size.height} px{', grey' if card.channels == 'grey' else ''}"


def engine_and_device(engine: str, device: DeviceInfo | None) -> str:
    """Name what runs a model, and the GPU: without it, it runs on the CPU, and a phone has no room to say so."""
    return f"{engine} on GPU" if device and device.kind == "cuda" else engine


def device(device: DeviceInfo) -> str:
    """Describe hardware in a few words."""
    size = f"{device.memory_bytes / _BYTES_PER_GIB:,.0f} GiB"
    return f"{device.name}, {device.cores} cores, {size}" if device.cores else f"{device.name}, {size}"


def milliseconds(value_ms: float | None) -> str:
    """Write a duration with three or four digits."""
    if value_ms is None:
        return "–"
    return f"{value_ms:,.1f} ms" if value_ms < 100 else f"{value_ms:,.0f} ms"


def rate(per_s: float) -> str:
    """Write a rate; only 0 itself is written as 0."""
    return "< 0.01" if 0 < per_s < 0.01 else f"{per_s:,.2f}"


def duration(value_s: float) -> str:
    """Write a duration in its two largest units."""
    minutes, seconds = divmod(int(value_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def ago(value_ms: float) -> str:
    """Write an age: in tenths of a second up to ten seconds, then as `duration`."""
    return f"{value_ms / 1000:.1f} s" if value_ms < 10_000 else duration(value_ms / 1000)


def size(value_bytes: float) -> str:
    """Write a number of bytes in the largest decimal unit that leaves at least one of it."""
    for unit, unit_bytes in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value_bytes >= unit_bytes:
            return f"{value_bytes / unit_bytes:,.1f} {unit}"
    return f"{value_bytes:.0f} B"


@dataclass(frozen=True, slots=True)
class Outage:
    """The text of a banner, in Markdown; `is_passing` where waiting is enough."""

    title: str
    text: str
    is_passing: bool = False


def outage(error: LightboxClientError, url: str) -> Outage:
    """Explain why the service at `url` cannot answer and what to do."""
    by_itself = "The page reconnects automatically."
    if isinstance(error, NotReadyError):
        if error.code == "draining":
            return Outage("The service is shutting down", f"{url} takes no new images. {by_itself}", is_passing=True)
        text = "Its models are being loaded. The page reconnects automatically as soon as they are ready."
        return Outage("The service is warming up", text, is_passing=True)
    if isinstance(error, ServiceTimeoutError):
        return Outage(
            "The service does not answer in time", f"It was asked at {url} and may be overloaded. {by_itself}"
        )
    if isinstance(error, UnexpectedAnswerError):
        text = f"{url} answered with HTTP {error.status}, not in Lightbox's words. Set `LIGHTBOX_URL` to the service."
        return Outage("Something else answers there", f"{text} {by_itself}")
    if isinstance(error, ProblemError):
        text = f"{literal(problem(error))} (`{error.code}`, request {literal(error.request_id)})"
        return Outage("The service cannot answer this", text)
    text = (
        f"Nothing answers at {url}. Start it with `lightbox serve`, or set `LIGHTBOX_URL` to where it runs. {by_itself}"
    )
    return Outage("The service is out of reach", text)


def problem(error: LightboxClientError) -> str:
    """Write an error as one sentence."""
    return capitalise(str(error)).rstrip(".") + "."


def problem_details(error: LightboxClientError, encoded: bytes) -> str:
    """Return an error's details for an operator: the message, the code, the request's id.

    Where the service did not recognise the format, the first bytes of `encoded` follow.
    """
    if not isinstance(error, ProblemError):
        return str(error)
    details = f"{error.detail}\ncode: {error.code}\nrequest: {error.request_id}"
    is_unknown = error.code == "unsupported_format"
    return f"{details}\nfirst bytes: {encoded[:SHOWN_BYTES].hex(' ')}" if is_unknown else details


def is_passing(outcome: object) -> bool:
    """Whether an image failed for a passing reason, so that a later try may succeed."""
    return isinstance(outcome, LightboxClientError) and not isinstance(outcome, InvalidImageError | InvalidRequestError)


def zone(name: str | None) -> tzinfo:
    """Return a visitor's time zone; UTC where the browser names none, or an unknown one."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC
