"""A journal that an older Lightbox has written, upgraded by this one."""

from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

import bento_service.database
from bento_service.database.connections import Database
from bento_service.domain.history import Quantiles
from bento_service.journal.store import SqlJournalStore
from tests.unit.journal.receipts import NOW, Window, make_receipt

WINDOW: Window = {"since": NOW, "until": NOW + timedelta(hours=1)}


def downgrade(url: str, revision: str) -> None:
    """Bring a journal's schema back to what an older Lightbox wrote."""
    config = Config()
    config.set_main_option("script_location", str(Path(bento_service.database.__file__).with_name("migrations")))
    database = Database(url)
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    database.close()


def test_rollups_without_slowest_durations_are_still_used(store: SqlJournalStore, journal_url: str) -> None:
    store.append([make_receipt(total_ms=total_ms) for total_ms in (10.0, 100.0)])
    downgrade(journal_url, "0001")

    store.migrate()
    before = store.read_history(**WINDOW, buckets=1).total
    store.append([make_receipt(total_ms=50.0), make_receipt(total_ms=300.0, cached=True)])
    after = store.read_history(**WINDOW, buckets=1).total

    # The upper end of the bin of the slowest: never below its duration, and at most 2 % above.
    slowest_ms = before.stages["total"].max
    assert slowest_ms is not None
    assert 100.0 <= slowest_ms <= 102.1
    assert before.stages["total"].p99 == slowest_ms
    assert after.stages["total"].max == slowest_ms
    assert after.stages["total"].p50 == pytest.approx(50.0, rel=0.0203)
    assert (after.cached, after.cached_total) == (1, Quantiles(300.0, 300.0, 300.0, 300.0))
