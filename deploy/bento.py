"""Write the bentofile of an image with models of one's own inside: `make image MODELS="pets efficientnet_lite0"`.

Such an image holds exactly the models that are named, and serves them; the first is the default.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from bento_service.cli.errors import explained_errors, read_settings
from bento_service.domain.model_names import ModelReference, is_preparable
from bento_service.models.store import BentoModelStore
from bento_service.models.stored_files import bento_name

ROOT = Path(__file__).parents[1]
BENTOFILE = ROOT / ".cache" / "bentofile.yaml"


def describe_bento(names: Sequence[str], store: BentoModelStore) -> str:
    """Return a bentofile with these stored models, each named `name` or `name:version`.

    A model of the second store is copied into BentoML's, where `bentoml build` looks for it.

    Raises:
        ModelLoadError: One of them is not stored.
    """
    described = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    tags, served = list[str](), list[str]()
    for name in names:
        card = store.copy_home(store.load(name)).card
        tags.append(f"{bento_name(card.name)}:{card.version}")
        served.append(f"{card.name}:{card.version}" if ModelReference.parse(name).version else card.name)
    described["models"] = tags
    described["envs"].append({"name": "LIGHTBOX_MODELS", "value": ",".join(served)})
    return yaml.safe_dump(described, sort_keys=False)


def main() -> None:
    """Write the bentofile for the models that the command line names, and print its path."""
    with explained_errors():
        names = sys.argv[1:]
        if preparable := [name for name in names if is_preparable(name)]:
            command = [sys.executable, "-m", "bento_service", "models", "prepare", *preparable]
            subprocess.run(command, check=True)  # noqa: S603 - the names that whoever runs `make` typed
        described = describe_bento(names, BentoModelStore(also=read_settings().model_store))
    BENTOFILE.parent.mkdir(exist_ok=True)
    BENTOFILE.write_text(described)
    print(BENTOFILE)


if __name__ == "__main__":
    main()
