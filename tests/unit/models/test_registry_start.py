"""What a worker loads first, by the settings and a registry in SQLite."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bento_service.domain.models import StoredModel
from bento_service.errors import ModelLoadError
from bento_service.models import registry_changes
from bento_service.models.registry_sql import SqlRegistryStore
from bento_service.models.registry_start import plan_start
from tests.fakes.registry import FakeStoredVersions, open_registry


class Store(FakeStoredVersions):
    """Finds versions as the model store does."""

    def load(self, name: str, version: str | None = None) -> StoredModel:
        found = [model for model in self.versions(name) if version is None or model.card.version.startswith(version)]
        if not found:
            raise ModelLoadError(f"{name} is not stored")
        return found[0]


STORE = Store({"pets": ("v2", "v1"), "cars": ("c1",)})


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[SqlRegistryStore]:
    registry = open_registry(tmp_path)
    yield registry
    registry.close()


def promote(registry: SqlRegistryStore, name: str, version: str) -> None:
    transform = partial(registry_changes.promote, name=name, version=version)
    registry.change(name, transform, action="promote", version=version, actor="me")


def test_an_empty_registry_begins_with_what_the_settings_mean(registry: SqlRegistryStore) -> None:
    plan = plan_start(("pets", "cars:c"), STORE, registry)
    assert (plan.names, plan.missing) == (("pets:v2", "cars:c1"), {})


def test_the_registrys_champion_comes_before_the_settings_version(registry: SqlRegistryStore) -> None:
    promote(registry, "pets", "v1")
    assert plan_start(("pets:v2", "cars"), STORE, registry).names == ("pets:v1", "cars:c1")


def test_a_model_that_was_unloaded_does_not_come_back(registry: SqlRegistryStore) -> None:
    promote(registry, "pets", "v1")
    unload = partial(registry_changes.unload, name="pets", version=None)
    registry.change("pets", unload, action="unload", version="", actor="me")
    assert plan_start(("pets", "cars"), STORE, registry).names == ("cars:c1",)


def test_a_champion_whose_files_are_missing_is_not_replaced_by_another_version(registry: SqlRegistryStore) -> None:
    promote(registry, "pets", "v9")
    plan = plan_start(("pets", "cars"), STORE, registry)
    assert (plan.names, plan.missing) == (("cars:c1",), {"pets": "pets is not stored"})


def test_the_former_champion_answers_where_the_champions_files_are_missing(registry: SqlRegistryStore) -> None:
    for version in ("v1", "v2", "v9"):
        promote(registry, "pets", version)
    plan = plan_start(("pets:v1", "pets:v2"), STORE, registry)
    assert (plan.names, plan.missing) == (("pets:v2",), {})
    assert "pets:v1" in plan.former


def test_a_start_without_any_model_says_why(registry: SqlRegistryStore) -> None:
    with pytest.raises(ModelLoadError, match=r"can be served\. gone is not stored"):
        plan_start(("gone",), STORE, registry)


def test_a_registry_out_of_reach_leaves_it_to_the_settings(tmp_path: Path) -> None:
    unmigrated = SqlRegistryStore(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    assert plan_start(("pets:v1",), STORE, unmigrated).names == ("pets:v1",)
    unmigrated.close()
