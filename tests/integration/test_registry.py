"""Two workers of a real service promote a version and roll it back while clients go on."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from bento_service.models.store import BentoModelStore
from lightbox_client import Client
from lightbox_client.contract import ModelVersions
from tests.integration.running_service import running_service

LITE0 = "efficientnet_lite0"
FOLLOWED_S = 2.0
"""The longest that all workers may take to follow a change, loads not counted."""
pytestmark = pytest.mark.timeout(600)


def store_copy(root: Path, version: str) -> None:
    """Store the bundled model as a version of `pets`."""
    original = BentoModelStore().load(LITE0)
    card = replace(original.card, name="pets", version=version)

    def copy(onnx_path: Path, program_path: Path) -> None:
        shutil.copyfile(original.onnx_path, onnx_path)

    BentoModelStore(root).save(
        card,
        write_model=copy,
        measure=lambda _: original.parities,
    )


class Callers:
    """Clients that ask without a pause, each time over a new connection, until the end."""

    def __init__(self, url: str, photograph: bytes) -> None:
        self._url = url
        self._photograph = photograph
        self._is_over = threading.Event()
        self.statuses: list[int] = []
        self.versions: list[tuple[float, str]] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]

    def _ask(self) -> None:
        while not self._is_over.is_set():
            asked_s = time.monotonic()
            answer = requests.post(f"{self._url}/v1/classify?model=pets", data=self._photograph, timeout=60)
            self.statuses.append(answer.status_code)
            if answer.status_code == 200:
                self.versions.append((asked_s, answer.json()["model"]["version"]))

    @contextmanager
    def asking(self) -> Iterator["Callers"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            for thread in self._threads:
                thread.join()

    def answered_after(self, moment_s: float, until_s: float) -> set[str]:
        """The versions that answered requests sent in between."""
        return {version for asked_s, version in self.versions if moment_s <= asked_s < until_s}

    def wait_for_more(self, count: int) -> None:
        wanted, tick = len(self.versions) + count, threading.Event()
        while len(self.versions) < wanted and any(thread.is_alive() for thread in self._threads):
            tick.wait(0.01)


def roll_back(client: Client) -> tuple[ModelVersions, float]:
    begun_s = time.monotonic()
    client.roll_back_model("pets")
    return client.wait_until_done("pets"), time.monotonic() - begun_s


def test_two_workers_promote_and_roll_back_without_a_failed_request(
    tmp_path: Path, bentoml_home: Path, jpegs: list[Path]
) -> None:
    models = tmp_path / "store"
    store_copy(models, "v1")
    with running_service(
        tmp_path,
        workers=2,
        models="pets,gone",
        model_store=models,
        model_control="explicit",
        target_p99_ms=60_000,
        cache_bytes=0,
    ) as service:
        store_copy(models, "v2")
        callers = Callers(service.url, jpegs[0].read_bytes())
        with Client(service.url) as client, callers.asking():
            started = client.wait_until_done("pets")
            assert (started.workers, started.aliases) == (2, {"champion": "v1"})

            client.promote_model("pets:v2")
            promoted = client.wait_until_done("pets")
            promoted_s = time.monotonic()
            assert (promoted.state, promoted.aliases["champion"]) == ("READY", "v2")
            callers.wait_for_more(10)

            begun_s = time.monotonic()
            rolled_back, took_s = roll_back(client)
            done_s = time.monotonic()
            assert (rolled_back.state, rolled_back.aliases["champion"]) == ("READY", "v1")
            assert took_s < FOLLOWED_S
            callers.wait_for_more(10)

        assert set(callers.statuses) == {200}
        assert callers.answered_after(0, promoted_s) >= {"v1"}
        assert callers.answered_after(promoted_s, begun_s) == {"v2"}
        assert callers.answered_after(done_s, time.monotonic()) == {"v1"}
