"""Small models in stores, and what is read back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bento_service.domain.models import InputRecipe, ModelCard, Parity, StoredModel
from bento_service.models.store import BentoModelStore

RECIPE = InputRecipe(8, 6, 0.875, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


@dataclass(frozen=True)
class Folders:
    """A store's own folder, and a second one."""

    own: Path
    further: Path

    def find(self, name: str) -> StoredModel | None:
        return BentoModelStore(self.own, also=self.further).find(name)

    def version_of(self, name: str) -> str | None:
        found = self.find(name)
        return found.card.version if found else None


def describe(name: str, version: str) -> ModelCard:
    return ModelCard(name=name, version=version, labels=("a",), recipe=RECIPE, source="a test", licence="Apache-2.0")


def save(root: Path, name: str, version: str, program: bytes | None = b"program") -> StoredModel:
    def write_model(onnx_path: Path, program_path: Path) -> None:
        onnx_path.write_bytes(b"onnx")
        if program is not None:
            program_path.write_bytes(program)

    def measure(onnx_path: Path) -> Mapping[str, Parity]:
        return {}

    return BentoModelStore(root).save(describe(name, version), write_model=write_model, measure=measure)


def read_program(stored: StoredModel | None) -> bytes | None:
    assert stored is not None
    return stored.program_path.read_bytes() if stored.program_path else None
