"""What is in the model store: its listing, one model's card, labels, and removal."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from pydantic import TypeAdapter

from bento_service.cli.errors import CommandError, ExitCode
from bento_service.cli.output import new_table, plain_console
from bento_service.cli.plain_text import to_plain
from bento_service.domain.model_names import ModelReference
from bento_service.domain.models import ModelCard, Parity, StoredModel
from bento_service.errors import ModelLoadError
from bento_service.models.store import BentoModelStore

_CARDS = TypeAdapter(ModelCard)
_PARITIES = TypeAdapter(Mapping[str, Parity])


def measure_bytes(stored: StoredModel) -> int:
    """Return the bytes of a version's files, its torch program among them."""
    folders = [stored.onnx_path.parent]
    if stored.program_path is not None:
        folders.append(stored.program_path.parent)
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())


def judge(stored: StoredModel) -> str:
    """Return what the parity gate says of a version: passes, fails with the engines, or was not measured."""
    if not stored.parities:
        return "not measured"
    failing = [engine for engine, parity in stored.parities.items() if not parity.passes_gate]
    return f"fails on {', '.join(failing)}" if failing else "passes"


def write_stored(store: BentoModelStore, stream: TextIO) -> None:
    """Write a row for each stored version; the first of a name is what the bare name means.

    Raises:
        CommandError: A version is damaged; the others are written.
    """
    damaged: list[ModelLoadError] = []
    versions = [version for name in store.names() for version in store.versions(name, damaged.append)]
    table = new_table()
    for heading in ("name", "version", "stored", "size", "input", "classes", "parity gate"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in {"size", "classes"} else "left")
    table.add_column("licence", overflow="fold")
    for stored in versions:
        card, recipe = stored.card, stored.card.recipe
        stored_at = stored.stored_at.astimezone().strftime("%Y-%m-%d %H:%M") if stored.stored_at else ""
        size = f"{measure_bytes(stored) / 1e6:.1f} MB"
        shown = (card.name, card.version, stored_at, size, f"{recipe.width_px}×{recipe.height_px}")
        table.add_row(*shown, str(len(card.labels)), judge(stored), to_plain(card.licence))
    if table.row_count:
        plain_console(stream).print(table)
    elif not damaged:
        stream.write("Nothing is stored yet. Import a model with `lightbox models import SOURCE --name NAME`.\n")
    if damaged:
        raise CommandError("\n".join(error.message for error in damaged))


def write_card(stored: StoredModel, stream: TextIO) -> None:
    """Write all that is known of a version, each fact with where it was found."""
    table = new_table()
    for heading in ("fact", "value", "found in"):
        table.add_column(heading, overflow="fold")
    for row in _describe(stored):
        table.add_row(*map(to_plain, row))
    plain_console(stream).print(table)


def to_json(stored: StoredModel) -> str:
    """Return the card, the parity of each engine and the files as JSON."""
    described: dict[str, Any] = _CARDS.dump_python(stored.card, mode="json")
    described["parity"] = _PARITIES.dump_python(stored.parities, mode="json")
    described["stored_at"] = stored.stored_at.isoformat() if stored.stored_at else None
    described["size_bytes"] = measure_bytes(stored)
    described["has_features"] = stored.has_features
    described["onnx_path"] = str(stored.onnx_path)
    return json.dumps(described, ensure_ascii=False, indent=2)


def remove(store: BentoModelStore, name: str, stream: TextIO, *, every: bool) -> None:
    """Remove a version; a bare name is enough where it has one, or with `every` for all of them.

    Raises:
        CommandError: It has several versions.
        ModelLoadError: It has none, or the store cannot be written.
    """
    model, versions = ModelReference.parse(name).name, store.list_versions(name)
    if len(versions) > 1 and not every:
        raise CommandError(
            f"{name} has several versions: {', '.join(versions)}. Name one as `{name}:VERSION`, or add --all",
            ExitCode.BAD_INPUT,
        )
    for version in versions:
        store.remove(model, version)
        stream.write(f"Removed {model}:{version}.\n")


def _describe(stored: StoredModel) -> Iterator[tuple[str, str, str]]:
    card, recipe, where = stored.card, stored.card.recipe, stored.card.found_in
    yield "name", card.name, ""
    yield "version", card.version, ""
    yield "source", card.source, where.get("source", "")
    yield "licence", card.licence, where.get("licence", "")
    shown = ", ".join(card.labels[:5]) + (", …" if len(card.labels) > 5 else "")
    yield "labels", f"{len(card.labels)}: {shown}", where.get("labels", "")
    yield "scores", card.score_kind, where.get("activation", "")
    yield "size", f"{recipe.width_px}×{recipe.height_px}", where.get("size", "")
    yield "fit", recipe.fit, where.get("fit", "")
    if recipe.fit == "crop":
        yield "crop fraction", f"{recipe.crop_fraction:g}", where.get("crop fraction", "")
    if recipe.fit == "letterbox":
        yield "pad value", str(recipe.pad_value), where.get("pad value", "")
    yield "interpolation", recipe.interpolation, where.get("interpolation", "")
    resize = "antialiased" if recipe.is_antialiased else "not antialiased, as OpenCV's"
    yield "resize", resize, where.get("is antialiased", "")
    yield "channels", recipe.channels, where.get("channels", "")
    yield "mean", " ".join(f"{value:.6g}" for value in recipe.mean), where.get("mean", "")
    yield "std", " ".join(f"{value:.6g}" for value in recipe.std), where.get("std", "")
    for engine, parity in stored.parities.items():
        agreed = f"same best class on {parity.top1_agreement:.1%} of {parity.crops} crops"
        gate = "passes" if parity.passes_gate else "fails"
        moved = f"largest difference {parity.max_probability_difference:.4f}"
        yield f"parity on {engine}", f"{gate}: {moved}, {agreed}", where.get("parity", "")
    yield "explained by", "class activation maps" if stored.has_features else "occlusion", ""
    yield "largest batch", "any" if card.max_batch is None else str(card.max_batch), ""
    if card.memory_bytes is not None:
        yield "memory when loaded", f"{card.memory_bytes / 1e6:.0f} MB", "measured by the import"
    yield "torch program", "yes" if stored.program_path else "no", ""
    yield "files", f"{measure_bytes(stored) / 1e6:.1f} MB", str(stored.onnx_path.parent)
    if stored.stored_at is not None:
        yield "stored", stored.stored_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"), ""
