"""Runs as the generator would return them, made up."""

from collections.abc import Sequence

import numpy as np

from bento_service.load_test.exchange import AnswerFacts
from bento_service.load_test.result import LoadResult


def make_run(
    latencies_ms: Sequence[float],
    *,
    offered_per_s: float | None = 100.0,
    statuses: Sequence[int] | None = None,
    facts: AnswerFacts | None = None,
    duration_s: float | None = None,
    waits_ms: float = 0.0,
    connections: int = 8,
    client_cpu_s: float = 0.0,
) -> LoadResult:
    """One request each `1 / offered_per_s` seconds, with these latencies; all answered unless `statuses` say more."""
    count = len(latencies_ms)
    duration_s = duration_s or count / (offered_per_s or 100.0)
    due_s = np.linspace(0, duration_s, count, endpoint=False)
    return LoadResult(
        offered_per_s=offered_per_s,
        duration_s=duration_s,
        due_s=due_s,
        sent_s=due_s + waits_ms / 1000,
        done_s=due_s + np.array(latencies_ms) / 1000,
        statuses=np.array(statuses if statuses is not None else [200] * count, dtype=np.int16),
        retry_after_s=np.full(count, np.nan),
        facts=(facts,) * count,
        connections=connections,
        exhausted=0,
        client_cpu_s=client_cpu_s,
    )


def make_facts(
    *, decode_ms: float = 2.0, inference_ms: float = 8.0, batch_size: int = 1, is_cached: bool = False
) -> AnswerFacts:
    """An answer's timings, with 1 ms of receiving and 1 ms in the queue."""
    total_ms = 2.0 + decode_ms + inference_ms
    return AnswerFacts(1.0, decode_ms, 1.0, inference_ms, total_ms, batch_size, is_cached)
