"""What `kubectl apply -k` would send to a cluster."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

KUBERNETES = Path(__file__).parents[3] / "deploy" / "kubernetes"
KUSTOMIZATIONS = ("base", "overlays/gpu", "overlays/monitoring", "overlays/queue-wait")

Manifest = dict[str, Any]
Labels = dict[str, str]


@dataclass(frozen=True)
class Rendered:
    """The objects of one kustomization."""

    objects: tuple[Manifest, ...]

    def one(self, kind: str, name: str = "lightbox-api") -> Manifest:
        [found] = [each for each in self.objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
        return found

    def template(self, name: str) -> Manifest:
        """The template of a Deployment's pods: labels and specification."""
        template: Manifest = self.one("Deployment", name)["spec"]["template"]
        return template

    def container(self, name: str) -> Manifest:
        """The only container of a Deployment's pods."""
        [container] = self.template(name)["spec"]["containers"]
        found: Manifest = container
        return found

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a Deployment's container; those from a Secret are empty."""
        container = self.container(name)
        values: dict[str, str] = {}
        for source in container["envFrom"]:
            values |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        return values | {variable["name"]: "" for variable in container.get("env", ())}


@cache
def render(folder: Path) -> Rendered:
    """Render a kustomization with the kubectl that tests/install-programs puts beside Python, or one on the path.

    Without kubectl the test is skipped; in CI it fails.
    """
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if kubectl is None:
        message = "kubectl, 1.27 or newer, renders deploy/kubernetes; tests/install-programs installs it"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    result = subprocess.run([kubectl, "kustomize", str(folder)], check=False, capture_output=True, text=True)
    # A kustomization with deprecated fields still renders, with a warning.
    assert (result.returncode, result.stderr) == (0, "")
    return Rendered(tuple(yaml.safe_load_all(result.stdout)))


def selects(selector: Manifest, labels: Labels) -> bool:
    """Whether a label selector selects these labels."""
    assert set(selector) <= {"matchLabels"}, "an unknown kind of selector"
    wanted: Labels = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()
