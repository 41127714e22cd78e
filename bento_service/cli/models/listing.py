"""Listings of models: those that are named in the settings, served, or stored."""

from collections.abc import Sequence
from typing import NamedTuple, TextIO

from bento_service.cli.output import new_table, plain_console
from bento_service.cli.plain_text import to_plain
from bento_service.domain.model_names import ModelReference, is_preparable
from bento_service.domain.models import ModelCard
from bento_service.models.store import BentoModelStore, explain_missing_model
from lightbox_client import Client, contract

MISSING = "missing"
PREPARED = "prepared"


class ModelRow(NamedTuple):
    """A line of the listing; a missing model has only a name and a state."""

    name: str
    state: str
    version: str = ""
    input_size: str = ""
    licence: str = ""
    source: str = ""
    aliases: str = ""


def list_prepared(store: BentoModelStore, names: Sequence[str]) -> list[ModelRow]:
    """Return a row for each name: `prepared`, or `missing`."""
    missing = store.missing(names)
    return [ModelRow(name, MISSING) if name in missing else _row_of(store.load(name).card) for name in names]


def list_served(client: Client) -> list[ModelRow]:
    """Return a row for each model that a service has; raises `LightboxClientError`."""
    found = client.models()
    return [_row_of(card) for card in found.models] + [
        ModelRow(model.name, model.state.lower(), source=model.reason) for model in found.not_served
    ]


def _row_of(card: ModelCard | contract.ModelCard) -> ModelRow:
    if isinstance(card, ModelCard):
        state, size = PREPARED, f"{card.recipe.width_px}×{card.recipe.height_px}"
    else:
        state, size = card.state, f"{card.input_size.width}×{card.input_size.height}"
        aliases = ", ".join(f"{alias}={version}" for alias, version in card.aliases.items())
        return ModelRow(card.name, state, card.version, size, card.licence, card.source, aliases)
    return ModelRow(card.name, state, card.version, size, card.licence, card.source)


def write_rows(rows: Sequence[ModelRow], stream: TextIO) -> None:
    """Write the listing, and how to get what is missing."""
    table = new_table()
    for heading in ("name", "state", "version", "input", "licence"):
        table.add_column(heading, no_wrap=True)
    table.add_column("source", overflow="fold")
    table.add_column("aliases", overflow="fold")
    for row in rows:
        table.add_row(*map(to_plain, row))
    plain_console(stream).print(table)
    missing = [row.name for row in rows if row.state == MISSING]
    if any(map(is_preparable, missing)):
        stream.write("\nBring in what is missing with `lightbox models prepare`.\n")
    for name in missing:
        if not is_preparable(name):
            stream.write(f"\nThe model {name} is {explain_missing_model(ModelReference.parse(name).name)}\n")
