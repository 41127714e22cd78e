"""Measure the bundled models' parity against f32 PyTorch, and write the figures that the package ships.

Run `python -m docs.bundled_parity` after a change of the graphs, the preprocessing or an engine's release: 200 crops,
three models and two engines take about a minute.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bento_service.domain.model_names import BUNDLED_NAMES
from bento_service.models.store import BentoModelStore
from bento_service.preparation.bundled_parity import write_bundled_parity
from bento_service.preparation.prepare import prepare_missing
from bento_service.preparation.verification import PYTORCH, verify


def main() -> None:
    """Prepare the models in an empty store, measure and write."""
    figures = {}
    with TemporaryDirectory() as folder:
        store = BentoModelStore(Path(folder))
        prepare_missing(BUNDLED_NAMES, store, lambda model, step: print(f"{model}: {step}"))
        for name in BUNDLED_NAMES:
            stored = store.load(name)
            verification = verify(stored)
            if verification.reference != PYTORCH:
                sys.exit("The figures that are shipped are measured against PyTorch: `make setup EXTRAS=torch`.")
            print(f"{name}: {verification.parities}")
            figures[stored.card.version] = verification.parities
    write_bundled_parity(figures)


if __name__ == "__main__":
    main()
