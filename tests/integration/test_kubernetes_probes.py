"""Kubernetes asks the service, and Prometheus scrapes it, at paths that are there."""

import requests

from tests.integration.running_service import RunningService
from tests.unit.deploy.kustomization import KUBERNETES, render


def test_the_service_answers_every_probe_and_scrape_of_the_manifests(service: RunningService) -> None:
    rendered = render(KUBERNETES / "overlays" / "monitoring")
    container = rendered.container("lightbox-api")
    paths = {container[kind]["httpGet"]["path"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    paths |= {endpoint["path"] for endpoint in rendered.one("ServiceMonitor")["spec"]["endpoints"]}

    assert paths == {"/livez", "/readyz", "/metrics"}
    assert {path: requests.get(f"{service.url}{path}", timeout=60).status_code for path in paths} == dict.fromkeys(
        paths, 200
    )
