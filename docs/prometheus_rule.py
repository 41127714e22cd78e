"""Prometheus's rules in the form that its operator reads: the custom resource PrometheusRule.

`python -m docs.prometheus_rule` writes it, since kustomize can include no file within an object; a test holds it up to
date.
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
    """Return the resource whose specification is these rules: both have the same form."""
    return _HEAD + textwrap.indent(rules, "  ")


if __name__ == "__main__":
    RESOURCE.write_text(as_resource(RULES.read_text()))
