"""The kustomizations that an operator applies, rendered, and one that combines everything."""

import shutil
from pathlib import Path

import pytest

from tests.unit.deploy.kustomization import KUBERNETES, KUSTOMIZATIONS, Rendered, render

EVERYTHING = "everything on a GPU"
OWN_OVERLAY = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: vision
resources: [../gpu]
components: [../../components/monitoring, ../../components/queue-wait, ../../components/models]
images: [{name: lightbox-gpu, newName: registry.example.com/lightbox-gpu, newTag: 1.2.3}]
"""


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of deploy/kubernetes, to which an operator may add overlays."""
    return shutil.copytree(KUBERNETES, tmp_path_factory.mktemp("clone") / "deploy" / "kubernetes")


@pytest.fixture(params=[*KUSTOMIZATIONS, EVERYTHING])
def rendered(request: pytest.FixtureRequest, clone: Path) -> Rendered:
    """Each kustomization in turn, and an operator's own of the GPU overlay and every component."""
    if request.param != EVERYTHING:
        return render(KUBERNETES / request.param)
    own = clone / "overlays" / "own"
    own.mkdir(exist_ok=True)
    (own / "kustomization.yaml").write_text(OWN_OVERLAY)
    return render(own)
