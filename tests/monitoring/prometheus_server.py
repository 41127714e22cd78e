"""A real Prometheus over one service, with our rules and intervals of a second."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.integration.running_service import free_port, wait_until
from tests.monitoring.deployed import CONFIG, RULES, read_yaml

Sample = dict[str, Any]


class PrometheusServer:
    """A running Prometheus, by its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expr: str) -> list[Sample]:
        """The samples of an expression now.

        Raises:
            ValueError: The expression is invalid.
        """
        answer = self._get("query", query=expr)
        samples: list[Sample] = answer["result"]
        return samples

    def find_series(self, selector: str) -> list[dict[str, str]]:
        """The labels of each series that a selector selects."""
        series: list[dict[str, str]] = self._get("series", **{"match[]": selector})
        return series

    def rule_names(self) -> list[str]:
        """The rules that it has loaded."""
        return [rule["name"] for rule in self._rules()]

    def broken_rules(self) -> list[str]:
        """The rules whose last evaluation failed."""
        return [rule["name"] for rule in self._rules() if rule["health"] == "err"]

    def _rules(self) -> list[dict[str, str]]:
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, call: str, **parameters: str) -> Any:
        answer = requests.get(f"{self.url}/api/v1/{call}", params=parameters, timeout=30).json()
        if answer["status"] != "success":
            raise ValueError(f"{parameters}: {answer['error']}")
        return answer["data"]


@contextmanager
def running_prometheus(program: str, folder: Path, *, target: str) -> Iterator[PrometheusServer]:
    """Run a Prometheus that scrapes `target`, a host and port, with the deployed job."""
    config = read_yaml(CONFIG)
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "lightbox")
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [target]}]
    config |= {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [job],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'series'}",
                f"--web.listen-address={address}",
            ],
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: _is_ready(f"http://{address}/-/ready"))
        yield PrometheusServer(f"http://{address}")
    finally:
        process.terminate()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False
