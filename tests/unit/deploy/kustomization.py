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

    def all_of(self, kind: str) -> list[Manifest]:
        return [manifest for manifest in self.objects if manifest["kind"] == kind]

    def one(self, kind: str, name: str = "lightbox-api") -> Manifest:
        [found] = [manifest for manifest in self.all_of(kind) if manifest["metadata"]["name"] == name]
        return found

    def pod(self, name: str) -> Manifest:
        """The pods' specification of a Deployment."""
        spec: Manifest = self.one("Deployment", name)["spec"]["template"]["spec"]
        return spec

    def pod_labels(self, name: str) -> Labels:
        labels: Labels = self.one("Deployment", name)["spec"]["template"]["metadata"]["labels"]
        return labels

    def container(self, name: str) -> Manifest:
        """The only container of a Deployment's pods."""
        [container] = self.pod(name)["containers"]
        found: Manifest = container
        return found

    def environment(self, name: str) -> dict[str, str]:
        """What a Deployment's container gets from its settings, and the name alone of what a Secret has."""
        container = self.container(name)
        values: dict[str, str] = {}
        for source in container["envFrom"]:
            values |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        return values | {variable["name"]: "" for variable in container.get("env", ())}


def find_kubectl(path: str) -> str:
    """Where kubectl is: beside this Python, as tests/install-programs puts it, or in one of the folders of `path`.

    Where there is none the test is skipped, in CI it fails: a change must not land whose manifests nobody rendered.
    """
    found = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{path}")
    if found is not None:
        return found
    message = "kubectl, 1.27 or newer, renders deploy/kubernetes; tests/install-programs brings it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@cache
def render(folder: Path) -> Rendered:
    """Render a kustomization; the test is skipped where there is no kubectl, and fails there in CI."""
    kubectl = find_kubectl(os.environ["PATH"])
    result = subprocess.run([kubectl, "kustomize", str(folder)], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    # A kustomization of deprecated fields still renders, with a warning.
    assert result.stderr == ""
    return Rendered(tuple(yaml.safe_load_all(result.stdout)))


def selects(selector: Manifest, labels: Labels) -> bool:
    """Whether a label selector, or a Service's plain one, takes these labels in."""
    assert set(selector) <= {"matchLabels"}, "a kind of selector that this test does not know"
    wanted: Labels = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()
