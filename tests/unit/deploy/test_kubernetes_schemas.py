"""A cluster's API accepts what the kustomizations hold."""

import copy
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.unit.deploy.kustomization import KUBERNETES, KUSTOMIZATIONS, Manifest, Rendered
from tests.unit.deploy.operator_schemas import SPECIFICATIONS

OLDEST, NEWEST = "1.29", kubernetes_validate.latest_version()
OPERATOR = "monitoring.coreos.com/v1"


def check(manifest: Manifest, version: str) -> None:
    if manifest["apiVersion"] == OPERATOR:
        jsonschema.validate(manifest["spec"], SPECIFICATIONS[manifest["kind"]])
        return
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_one_that_the_api_takes(rendered: Rendered, version: str) -> None:
    for manifest in rendered.objects:
        check(manifest, version)


def with_typing_error(manifest: Manifest, path: tuple[Any, ...]) -> Manifest:
    """The object with one field, at `path`, misspelt."""
    wrong = copy.deepcopy(manifest)
    parent = wrong
    for step in path[:-1]:
        parent = parent[step]
    parent[f"{path[-1]}s"] = parent.pop(path[-1])
    return wrong


CONTAINER = ("spec", "template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Deployment", (*CONTAINER, "lifecycle", "preStop")),
        ("Deployment", (*CONTAINER, "securityContext", "readOnlyRootFilesystem")),
        ("HorizontalPodAutoscaler", ("spec", "metrics", 1, "pods", "target", "averageValue")),
        ("NetworkPolicy", ("spec", "ingress", 0, "from")),
        ("ServiceMonitor", ("spec", "endpoints", 0, "path")),
    ],
)
def test_a_misspelt_field_would_be_noticed(queue_wait: Rendered, kind: str, path: tuple[Any, ...]) -> None:
    wrong = with_typing_error(queue_wait.one(kind), path)

    with pytest.raises(jsonschema.ValidationError):
        check(wrong, NEWEST)


def test_every_folder_to_apply_is_among_those_that_are_tested() -> None:
    folders = {path.parent for path in KUBERNETES.rglob("kustomization.yaml")}
    applied = {str(folder.relative_to(KUBERNETES)) for folder in folders if folder.parent.name != "components"}
    components = {folder.name for folder in folders if folder.parent.name == "components"}

    assert applied == set(KUSTOMIZATIONS)
    assert components == {"monitoring", "queue-wait", "models"}
