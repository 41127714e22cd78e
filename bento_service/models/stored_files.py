"""The files of prepared models as BentoML's model store lays them out, read without importing BentoML."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from bento_service.domain.model_names import is_preparable
from bento_service.domain.models import ModelCard, Parity, StoredModel
from bento_service.errors import ModelLoadError

FILE_FORMAT = 2
"""Increase this when the stored files change, so that stored models are prepared again."""
MODEL_PREFIX, PROGRAM_PREFIX = "lightbox-", "lightbox_torch-"
ONNX, PROGRAM = "model.onnx", "model.pt2"
_LABELS, _CARD = "labels.json", "card.json"
_BENTO_NAME_LIMIT = 63
"""Characters in a BentoML tag's name, at most (bentoml/_internal/tag.py)."""
_BENTO_YAML = "model.yaml"
"""BentoML's own file in each version (bentoml/_internal/models/model.py). Read here, as importing BentoML takes 1 s."""
_CARDS = TypeAdapter(ModelCard)
_PARITIES = TypeAdapter(Mapping[str, Parity])


def bento_name(name: str, prefix: str = MODEL_PREFIX) -> str:
    """Return a model's BentoML tag name: `timm/resnet50.a1_in1k` is `lightbox-timm-resnet50.a1_in1k`.

    Its torch program has the prefix `lightbox_torch-` instead.

    Names that BentoML does not allow (over 63 characters, or characters other than lower-case letters, digits, `.`,
    `_` and `-`) are changed and get a digest of the original, so that tag names stay unique.
    """
    plain = name.replace("/", "-", 1)
    safe = f"{prefix}{re.sub(r'[^a-z0-9._-]', '-', plain.lower())}"
    if safe == f"{prefix}{plain}" and safe[-1].isalnum() and len(safe) <= _BENTO_NAME_LIMIT:
        return safe
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{safe[: _BENTO_NAME_LIMIT - 9]}-{digest}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A version in the store: its folder, and what BentoML recorded of it."""

    folder: Path
    created_at: str
    metadata: Mapping[str, Any]

    @property
    def version(self) -> str:
        """The model's version."""
        return self.folder.name

    @property
    def name(self) -> str:
        """The model's name; empty where the entry is not Lightbox's."""
        return str(self.metadata.get("name", ""))

    @property
    def is_whole(self) -> bool:
        """Whether each file has its final size: BentoML copies into its store file by file."""
        sizes = self.metadata.get("file_bytes")
        if self.metadata.get("file_format") != FILE_FORMAT or not isinstance(sizes, Mapping):
            return False
        paths = {self.folder / file_name: size for file_name, size in sizes.items()}
        return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def find_versions(tag_name: str, root: Path) -> list[Entry]:
    """Return the versions of this tag name that are completely stored in the current file format, newest first.

    Raises:
        OSError: The store exists and cannot be read.
    """
    try:
        folders = [folder for folder in (root / tag_name).iterdir() if folder.is_dir()]
    except FileNotFoundError:
        return []
    entries = [entry for folder in folders if (entry := _read_entry(folder)) and entry.is_whole]
    # BentoML's own `latest` would write that name into the store.
    return sorted(entries, key=lambda entry: entry.created_at, reverse=True)


def find_names(root: Path) -> Iterator[str]:
    """Yield the name of each model that has a completely stored version; raises as `find_versions`."""
    try:
        folders = sorted(folder for folder in root.iterdir() if folder.name.startswith(MODEL_PREFIX))
    except FileNotFoundError:
        return
    for folder in folders:
        if folder.is_dir():
            yield from {entry.name for entry in find_versions(folder.name, root)}


def read_model(entry: Entry, program_path: Path | None) -> StoredModel:
    """Return a stored version.

    Raises:
        OSError: It cannot be read.
        ModelLoadError: Its card or its labels are damaged; the message says what to do.
    """
    path = entry.folder / _CARD
    try:
        described = json.loads(path.read_bytes())
        parities = _PARITIES.validate_python(described.pop("parity"))
        path = entry.folder / _LABELS
        labels = json.loads(path.read_bytes())
        card = _CARDS.validate_python({**described, "labels": labels})
    # Whatever stands there in place of what was written: no JSON, or other JSON.
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        again = "prepare it" if is_preparable(entry.name) else "import it"
        raise ModelLoadError(
            f"{entry.name}:{entry.version} in the model store is damaged: {path} is not as it was written. Remove it "
            f"with `lightbox models remove {entry.name}:{entry.version}`, and {again} again.",
            model=entry.name,
        ) from error
    return StoredModel(
        card=card,
        onnx_path=entry.folder / ONNX,
        program_path=program_path,
        parities=parities,
        stored_at=_read_time(entry.created_at),
        # Not recorded by an earlier Lightbox, whose graphs return none.
        has_features=bool(entry.metadata.get("has_features")),
    )


def write_description(folder: Path, card: ModelCard, parities: Mapping[str, Parity]) -> None:
    """Write a version's card, labels and parity, for `read_model`."""
    described = _CARDS.dump_python(card, mode="json")
    _write_json(folder / _LABELS, described.pop("labels"))
    _write_json(folder / _CARD, {**described, "parity": _PARITIES.dump_python(parities, mode="json")})


def let_others_read(folder: Path) -> None:
    """Undo the permissions of BentoML's temporary folder, since containers that mount the store run as another user."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _read_entry(folder: Path) -> Entry | None:
    # Without its YAML, or with a part of it, it is being stored now.
    with contextlib.suppress(FileNotFoundError, yaml.YAMLError, TypeError, KeyError, ValueError):
        info = yaml.safe_load((folder / _BENTO_YAML).read_bytes())
        return Entry(folder, str(info["creation_time"]), dict(info["metadata"]))
    return None


def _read_time(created_at: str) -> datetime:
    """Return the time of BentoML's record; one without a zone is UTC."""
    time = datetime.fromisoformat(created_at)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
