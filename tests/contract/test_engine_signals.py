"""An engine leaves nothing behind in its process."""

import subprocess
import sys
from pathlib import Path

import pytest

USED_AND_LEFT = """
import signal, sys, threading
from bento_service.engines.choice import create_engine
from bento_service.models.store import BentoModelStore

class Holder:
    def __init__(self):
        stored = BentoModelStore().load("efficientnet_lite0")
        self.engine = create_engine(sys.argv[1], "cpu", stored, lanes=2, threads=2)

    def drop(self):
        self.engine.close()
        del self.engine

holder = Holder()
dropping = threading.Thread(target=holder.drop)
dropping.start()
dropping.join()
signal.signal(signal.SIGTERM, lambda number, frame: print("still here"))
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize("kind", ["openvino", "onnxruntime", "torch"])
def test_a_signal_after_the_engine_was_dropped_is_handled(kind: str, bentoml_home: Path) -> None:
    assert run(USED_AND_LEFT, kind) == "still here"


def test_no_engine_reports_to_its_makers(bentoml_home: Path) -> None:
    assert run(USED_AND_LEFT + 'print(sys.modules.get("openvino_telemetry"))', "openvino") == "None"


def run(script: str, kind: str) -> str:
    """The last line of a script's output."""
    command = [sys.executable, "-c", script, kind]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()[-1]
