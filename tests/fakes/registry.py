"""Stored versions without files, and a registry in a SQLite file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import create_engine, text

from bento_service.database import tables
from bento_service.database.revisions import newest_revision
from bento_service.domain.models import InputRecipe, ModelCard, StoredModel
from bento_service.models.registry_sql import SqlRegistryStore

LABELS = ("cat", "dog")
_RECIPE = InputRecipe(224, 224, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass
class FakeStoredVersions:
    """Versions by model, newest first; `labels` has those of versions that are not `LABELS`."""

    by_name: Mapping[str, Sequence[str]]
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def versions(self, name: str) -> Sequence[StoredModel]:
        cards = (
            ModelCard(name, version, self.labels.get(version, LABELS), _RECIPE, "onnx", "MIT")
            for version in self.by_name.get(name, ())
        )
        return [StoredModel(card, Path("model.onnx"), None, {}) for card in cards]


def open_registry(folder: Path) -> SqlRegistryStore:
    """Return an empty registry; the caller closes it."""
    url = f"sqlite:///{folder / 'journal.sqlite3'}"
    # A contract test compares these tables with the migrations, which take longer.
    engine = create_engine(url)
    with engine.begin() as connection:
        tables.metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": newest_revision()})
    engine.dispose()
    return SqlRegistryStore(url)
