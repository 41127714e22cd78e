import os
import subprocess
import sys
import time

import pytest

from bento_service.observability.processes import describe_exit, read_start_s
from tests.fakes.processes import dead_process_id, living_process

PRECISION_S = 1.5
"""The kernel tells when it booted in whole seconds."""


def test_the_start_of_a_process_is_when_it_started() -> None:
    before_s = time.time()
    with living_process() as living:
        after_s = time.time()
        assert before_s - PRECISION_S <= read_start_s(living) <= after_s + PRECISION_S


def test_two_processes_learn_the_same_of_a_third() -> None:
    script = f"from bento_service.observability.processes import read_start_s; print(read_start_s({os.getpid()}))"
    learnt = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert float(learnt) == read_start_s(os.getpid())


def test_the_start_of_a_process_that_is_gone_is_now() -> None:
    assert read_start_s(dead_process_id()) == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-11, "was ended by SIGSEGV"),
        (-9, "was ended by SIGKILL (out of memory?)"),
        (-42, "was ended by signal 42"),
    ],
)
def test_how_a_process_ended_is_said_in_words(exit_code: int, words: str) -> None:
    assert describe_exit(exit_code) == words
