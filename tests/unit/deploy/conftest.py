"""The kustomizations that an operator applies, rendered, and all that can be combined in one."""

from pathlib import Path

import pytest
import yaml

from tests.unit.deploy.kustomization import KUBERNETES, KUSTOMIZATIONS, Rendered, render

EVERYTHING = "everything on a GPU"


@pytest.fixture(params=[*KUSTOMIZATIONS, EVERYTHING])
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Each kustomization in turn, and an operator's own that takes the GPU overlay and every component."""
    if request.param != EVERYTHING:
        return render(KUBERNETES / request.param)
    return render(_combine(tmp_path_factory.mktemp("own")))


def _combine(folder: Path) -> Path:
    # Kustomize takes relative paths only.
    up = Path(*[".."] * (len(folder.resolve().parts) - 1)) / KUBERNETES.resolve().relative_to("/")
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "vision",
        "resources": [str(up / "overlays" / "gpu")],
        "components": [str(up / "components" / name) for name in ("monitoring", "queue-wait", "models")],
        "images": [{"name": "lightbox-gpu", "newName": "registry.example.com/lightbox-gpu", "newTag": "1.2.3"}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(own))
    return folder


@pytest.fixture
def base() -> Rendered:
    return render(KUBERNETES / "base")


@pytest.fixture
def gpu() -> Rendered:
    return render(KUBERNETES / "overlays" / "gpu")


@pytest.fixture
def queue_wait() -> Rendered:
    return render(KUBERNETES / "overlays" / "queue-wait")
