"""The parity of the bundled models, measured in development against f32 PyTorch and shipped with the package."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from pydantic import TypeAdapter

from bento_service.domain.models import Parity

BUNDLED_PARITY_PATH = Path(str(resources.files(__package__))) / "bundled_parity.json"
"""Written by `python -m docs.bundled_parity`."""
_BY_VERSION = TypeAdapter(Mapping[str, Mapping[str, Parity]])


def find_bundled_parity(version: str) -> Mapping[str, Parity]:
    """Return the parity of a bundled model by engine name; none for a version that was never measured."""
    return _BY_VERSION.validate_json(BUNDLED_PARITY_PATH.read_bytes()).get(version, {})


def write_bundled_parity(parities: Mapping[str, Mapping[str, Parity]]) -> None:
    """Write parities by version and engine name."""
    BUNDLED_PARITY_PATH.write_bytes(_BY_VERSION.dump_json(parities, indent=2) + b"\n")
