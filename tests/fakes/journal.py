"""A journal that returns what a test put in, and records the questions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bento_service.domain.history import History, HistoryBucket
from bento_service.domain.requests import Receipt
from bento_service.journal.base import JournalCounts


@dataclass
class FakeJournal:
    """A `Journal` that is its own reader. With `error` set, every read raises it."""

    bucket: HistoryBucket | None = None
    receipts: tuple[Receipt, ...] = ()
    error: Exception | None = None
    asked: list[Mapping[str, object]] = field(default_factory=list)
    recorded: list[Receipt] = field(default_factory=list)

    @property
    def reader(self) -> "FakeJournal":
        return self

    def record(self, receipt: Receipt) -> None:
        self.recorded.append(receipt)

    def counts(self) -> JournalCounts:
        return JournalCounts(0, len(self.recorded), 0)

    def read_history(self, *, since: datetime, until: datetime, buckets: int, model: str | None = None) -> History:
        self._ask(since=since, until=until, buckets=buckets, model=model)
        bucket = self.bucket or HistoryBucket(since)
        return History(since, until, (until - since).total_seconds() / buckets, (bucket,) * buckets, bucket)

    def read_receipts(self, *, limit: int, offset: int = 0, **question: Any) -> tuple[Receipt, ...]:
        self._ask(limit=limit, offset=offset, **question)
        return self.receipts[offset : offset + limit]

    def close(self, timeout_s: float = 10.0) -> int:
        """Nothing waits to be written."""
        return 0

    def _ask(self, **question: object) -> None:
        self.asked.append(question)
        if self.error is not None:
            raise self.error
