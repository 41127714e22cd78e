"""What a free lane does next: pure functions of the queue, the lanes, the latency target and the time."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from bento_service.domain.requests import Priority
from bento_service.domain.runner import EngineMode
from bento_service.scheduling.cost_model import CostModel

BATCH_SHARE = 0.25
"""One batch may take a quarter of the latency target, so that waiting for two of them still meets it."""
BULK_SHARE = 0.05
"""A bulk batch may take a twentieth of the target, since an interactive image may have to wait for its end."""
_DISPATCH_SHARE = 0.2
"""Cost of waking a lane for a batch, which the measured durations leave out, as a share of one image's time. An
estimate for a CPU, see docs/adr/0007-adaptive-runner.md."""
_HOLD_SHARE = 0.5
"""Waiting, holding and running together may take half of the target; the rest is for decoding and the answer."""
_MIN_HOLD_GAIN = 1.1
"""Factor in images a second, the hold included, that holding must gain: less is within the cost model's error."""
_MAX_SPLIT_DURATION = 0.75
"""Largest duration of half a batch, as a share of the whole one's, for which idle lanes split it; where it saves less,
lanes share a device and splitting only doubles the fixed cost."""
_MIN_LATENCY_GAIN = 0.95
"""Part of the throughput mode's duration that the latency mode may take at most to be worth every thread."""
_MIN_THROUGHPUT = 0.9
"""Least throughput that `choose_bounds` accepts, as a share: of the best batch's for the knee, of the knee's for the
ceiling."""


class Line(NamedTuple):
    """One model's waiting images of one priority, at least one.

    `oldest_s` is when the first of them joined; for `ceiling` and `knee` see `choose_bounds`. `curves` has the modes
    that differ, `THROUGHPUT` always.
    """

    model: str
    priority: Priority
    length: int
    oldest_s: float
    ceiling: int
    knee: int
    curves: Mapping[EngineMode, CostModel]
    arrivals_per_s: float = 0.0


class Lanes(NamedTuple):
    """The lanes: how many there are, and how many are idle, the asking one included.

    `ends_s` holds the predicted end of each running batch, `idle_since_s` when the asking lane became idle, and
    `bulk_ran_s` when a lane last took bulk work of any model.
    """

    total: int
    idle: int
    ends_s: Sequence[float]
    idle_since_s: float
    bulk_ran_s: float = -math.inf


class Outlook(NamedTuple):
    """What comes next, of any model: images being decoded, the interactive ones of them, and the rate of arrivals."""

    expected: int
    expected_interactive: int
    arrivals_per_s: float


class Run(NamedTuple):
    """Run the `size` oldest waiting images of a model and a priority as one batch."""

    model: str
    priority: Priority
    size: int
    mode: EngineMode


class Hold(NamedTuple):
    """Wait, at most until `until_s`, for the batch of this model and priority to grow or for more urgent work."""

    model: str
    priority: Priority
    until_s: float


def decide(
    lines: Sequence[Line], lanes: Lanes, outlook: Outlook, *, target_ms: float, now_s: float
) -> Run | Hold | None:
    """Decide what a free lane does next.

    Interactive before bulk, then the model whose first image has waited longest. The lane runs it at once unless
    holding pays, see `_hold_to_grow`, or it is bulk work on the last idle lane, see `_hold_for_interactive`. Bulk work
    that has waited for as long as the target runs one batch before interactive images.

    Returns:
        None only where nothing waits; a `Hold` ends later than now.
    """
    if not lines:
        return None
    overdue = _find_overdue(lines, lanes, target_ms=target_ms, now_s=now_s)
    line = overdue or min(lines, key=_urgency)
    curve = line.curves[EngineMode.THROUGHPUT]
    is_alone = len(lines) == 1 and line.length == 1 and lanes.idle == lanes.total and outlook.expected == 0
    if is_alone and _earns_every_thread(line, outlook):
        return Run(line.model, line.priority, 1, EngineMode.LATENCY)
    # Beyond the knee, an equal share of the backlog for every lane: its end is answered sooner.
    limit = max(line.knee, min(line.ceiling, line.length // (lanes.total + 1)))
    if line.priority is Priority.BULK:
        limit = _fit(curve, limit, budget_ms=BULK_SHARE * target_ms)
    size = choose_size(curve, length=line.length, limit=limit, idle_lanes=lanes.idle)
    run = Run(line.model, line.priority, size, EngineMode.THROUGHPUT)
    if overdue:
        return run
    until_s = _hold_for_interactive(line, size, lanes, outlook) if line.priority is Priority.BULK else now_s
    # A lane is not kept from others for the sake of one line.
    if len(lines) == 1 and size == line.length < limit:
        until_s = max(until_s, _hold_to_grow(line, limit, lanes, target_ms=target_ms, now_s=now_s))
    return Hold(line.model, line.priority, until_s) if until_s > now_s else run


def choose_size(curve: CostModel, *, length: int, limit: int, idle_lanes: int) -> int:
    """Choose how many of `length` waiting images run as one batch, 1 to `limit`.

    Two idle lanes run half a backlog each, unless half takes about as long as all.
    """
    whole = _trim(curve, min(length, limit))
    share = math.ceil(length / max(1, idle_lanes))
    if share >= whole or curve.predict_ms(share) > _MAX_SPLIT_DURATION * curve.predict_ms(whole):
        return whole
    return _trim(curve, share)


def choose_bounds(duration_ms: Mapping[int, float], *, budget_ms: float) -> tuple[int, int]:
    """Choose knee and ceiling of a model's batches from the duration of its batch sizes.

    The knee is the smallest batch whose throughput lies within a tenth of the best one's. The ceiling is the
    largest up to which every size lies within a tenth of the knee's, the cost of each dispatch included. Beyond the
    knee a bigger batch only saves dispatches, so the ceiling applies while many images wait. Sizes that take longer
    than `budget_ms` do not count, except 1, which `duration_ms` has.
    """
    affordable = {size: ms for size, ms in duration_ms.items() if size == 1 or ms <= budget_ms}
    best = max(size / ms for size, ms in affordable.items())
    knee = min(size for size, ms in affordable.items() if size / ms >= _MIN_THROUGHPUT * best)
    turn_ms = _DISPATCH_SHARE * duration_ms[1]
    rates = {size: size / (ms + turn_ms) for size, ms in sorted(affordable.items()) if size >= knee}
    return knee, max(takewhile(lambda size: rates[size] >= _MIN_THROUGHPUT * rates[knee], rates))


def _urgency(line: Line) -> tuple[bool, float]:
    return line.priority is Priority.BULK, line.oldest_s


def _find_overdue(lines: Sequence[Line], lanes: Lanes, *, target_ms: float, now_s: float) -> Line | None:
    """Return the bulk line that goes before interactive ones: its first image has waited for the target.

    None if another bulk batch ran within the target. So bulk work takes `BULK_SHARE` of one lane from interactive
    images, or one bulk image in each target where that takes longer.
    """
    since_s = now_s - target_ms / 1000
    if lanes.bulk_ran_s > since_s:
        return None
    overdue = [line for line in lines if line.priority is Priority.BULK and line.oldest_s <= since_s]
    return min(overdue, key=_urgency, default=None)


def _earns_every_thread(line: Line, outlook: Outlook) -> bool:
    """Return whether a lone image gains by all threads, and will probably have them for itself until it is done."""
    latency = line.curves.get(EngineMode.LATENCY)
    if latency is None:
        return False
    duration_ms = latency.predict_ms(1)
    is_shorter = duration_ms <= _MIN_LATENCY_GAIN * line.curves[EngineMode.THROUGHPUT].predict_ms(1)
    return is_shorter and outlook.arrivals_per_s * duration_ms / 1000 < 1


def _fit(curve: CostModel, limit: int, *, budget_ms: float) -> int:
    """Return the largest size up to `limit` that the budget allows, at least 1."""
    if curve.predict_ms(limit) <= budget_ms:
        return limit
    return max(1, bisect_right(range(1, limit + 1), budget_ms, key=curve.predict_ms))


def _trim(curve: CostModel, size: int) -> int:
    """Shrink a batch to a full bucket where that runs more images a second than padding it to the next bucket."""
    buckets = curve.bucket_sizes
    index = bisect_right(buckets, size)
    if index == 0:
        return size
    full = buckets[index - 1]
    return full if full / curve.predict_ms(full) > size / curve.predict_ms(size) else size


def _hold_for_interactive(line: Line, size: int, lanes: Lanes, outlook: Outlook) -> float:
    """Return until when bulk work leaves the last idle lane to an interactive image that is being decoded.

    At most for as long as its own batch takes, counted from when it could first have run. A single lane is never held.
    """
    if lanes.total == 1 or lanes.idle > 1 or outlook.expected_interactive == 0:
        return -math.inf
    return max(lanes.idle_since_s, line.oldest_s) + line.curves[EngineMode.THROUGHPUT].predict_ms(size) / 1000


def _hold_to_grow(line: Line, limit: int, lanes: Lanes, *, target_ms: float, now_s: float) -> float:
    """Return until when a lane waits for its batch to grow; not later than now where that does not pay.

    It waits only while another batch keeps the device busy, and at most for as long as its batch takes, so that the
    hold can at worst double that (the ski-rental bound). The images gained have to outweigh the hold.
    """
    rate = line.arrivals_per_s
    if not lanes.ends_s or rate <= 0:
        return now_s
    curve, size = line.curves[EngineMode.THROUGHPUT], line.length
    duration_ms = curve.predict_ms(size)
    until_s = min(*lanes.ends_s, line.oldest_s + duration_ms / 1000, now_s + (limit - size) / rate)
    hold_ms = (until_s - now_s) * 1000
    if hold_ms <= 0:
        return now_s
    grown = min(limit, size + math.floor(rate * hold_ms / 1000 + 1e-6))
    grown_ms = curve.predict_ms(grown)
    if (until_s - line.oldest_s) * 1000 + grown_ms > _HOLD_SHARE * target_ms:
        return now_s
    has_gained = grown / (hold_ms + grown_ms) >= _MIN_HOLD_GAIN * size / duration_ms
    return until_s if has_gained else now_s
