"""Prometheus's rules as the custom resource PrometheusRule, which the Prometheus operator reads.

`python -m docs.prometheus_rule` writes it, since kustomize cannot include a file in an object; a test fails if it is
out of date.
"""

import textwrap
from pathlib import Path

_DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = _DEPLOY / "prometheus" / "rules" / "lightbox.yml"
RESOURCE = _DEPLOY / "kubernetes" / "components" / "monitoring" / "prometheus-rule.yaml"

_HEAD = """\
# Written by `make docs` from deploy/prometheus/rules/lightbox.yml, which is the file to change.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: lightbox
  labels:
    app.kubernetes.io/name: lightbox
spec:
"""


def as_resource(rules: str) -> str:
    """Return the resource with these rules as its specification."""
    return _HEAD + textwrap.indent(rules, "  ")


if __name__ == "__main__":
    RESOURCE.write_text(as_resource(RULES.read_text()))
