"""What a worker process does to a journal, for tests with several of them."""

from bento_service.journal.store import SqlJournalStore
from tests.unit.journal.receipts import make_receipt

BATCHES = 25
ROWS_A_BATCH = 4


def write_to(url: str, writer: int) -> None:
    """Migrate an empty database together with others, then append batches that all fall in the same rollups."""
    store = SqlJournalStore(url)
    store.migrate()
    for batch in range(BATCHES):
        store.append(
            [
                make_receipt(f"{writer}-{batch}-{row}", class_id=batch, label=f"class {batch}")
                for row in range(ROWS_A_BATCH)
            ]
        )
    store.close()
