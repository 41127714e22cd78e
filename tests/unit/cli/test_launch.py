import contextlib
import os
import re
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bento_service.cli.launch import (
    Child,
    ChildFailedError,
    Command,
    StopRequest,
    run_to_end,
    run_together,
    stop_on_signals,
)
from tests.fakes.service import FakeService

SLEEPER = "import signal; signal.pause()"
"""A server as far as its process is concerned; the fake service answers for its readiness."""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{tell}\nwhile True: signal.pause()"
CRASHING = "import sys; [print('line', n, flush=True) for n in range(40)]; sys.exit('the last word')"
NOWHERE = "http://127.0.0.1:9/readyz"


class Pipe:
    """A named pipe through which a child tells its process id: who reads it waits until then."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = path
        self.tell = f"import os, pathlib; pathlib.Path({str(path)!r}).write_text(str(os.getpid()))"

    def read(self) -> int:
        return int(self._path.read_text())

    def open(self) -> None:
        self._process = os.pidfd_open(self.read())

    def has_ended(self) -> bool:
        """Whether the process ends, collected or not; SIGKILL takes a moment."""
        readable, _, _ = select.select([self._process], [], [], 30)
        os.close(self._process)
        return bool(readable)


@pytest.fixture
def pipe(tmp_path: Path) -> Pipe:
    return Pipe(tmp_path / "pid")


@pytest.fixture
def child(service: FakeService, tmp_path: Path) -> Callable[..., Child]:
    """Makes a child of a script, with the fake service's readiness unless it has a URL of its own."""

    def make(script: str = SLEEPER, *, name: str = "one", ready_url: str = "") -> Child:
        command = Command((sys.executable, "-c", script), os.environ)
        return Child(
            name, command, "http://there", ready_url or f"{service.url}/readyz", tmp_path / "logs" / f"{name}.log"
        )

    return make


def ignore(line: str) -> None:
    pass


MakeChild = Callable[..., Child]


def test_children_are_started_waited_for_announced_and_stopped(child: MakeChild, pipe: Pipe) -> None:
    children = [child(f"{pipe.tell}\n{SLEEPER}"), child(name="two")]
    stop, lines = StopRequest(), list[str]()

    def ask() -> None:
        pipe.open()
        stop.ask()

    run_together(children, stop, announce=lines.append, on_ready=ask)

    assert lines[0] == "Starting the one and the two …"
    assert [re.sub(r"[\d.]+ s", "S", line) for line in lines[1:]] == [
        "  One        http://there  (ready after S)",
        "  Two        http://there  (ready after S)",
    ]
    assert pipe.has_ended()


def test_a_child_is_ready_once_it_answers_200_whatever_proxy_the_environment_names(
    service: FakeService, child: MakeChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    service.refuse("not_ready", path="/readyz", times=3)
    stop = StopRequest()

    run_together([child()], stop, announce=ignore, on_ready=stop.ask)

    assert len(service.seen("/readyz")) == 4


def test_a_child_that_dies_is_named_with_the_end_of_its_log(child: MakeChild) -> None:
    children = [child(), child(CRASHING, name="crashing", ready_url=NOWHERE)]

    with pytest.raises(ChildFailedError) as failed:
        run_together(children, StopRequest(), announce=ignore, on_ready=pytest.fail)

    message = str(failed.value)
    assert message.startswith("the crashing ended with exit code 1.\nThe end of ")
    assert message.endswith("\n  line 39\n  the last word")
    assert "line 20\n" not in message


def test_a_child_that_dies_later_ends_the_run_too(child: MakeChild, pipe: Pipe) -> None:
    mortal = child(f"{pipe.tell}\n{SLEEPER}")

    with pytest.raises(ChildFailedError, match=r"the one was ended by SIGKILL \(out of memory\?\)\."):
        run_together([mortal], StopRequest(), announce=ignore, on_ready=lambda: os.kill(pipe.read(), signal.SIGKILL))


def test_a_child_that_is_never_ready_is_given_up(child: MakeChild) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        late = child(ready_url=f"http://127.0.0.1:{free.getsockname()[1]}/readyz")

    with pytest.raises(ChildFailedError, match=r"the one was not ready within 0\.2 s"):
        run_together([late], StopRequest(), announce=ignore, on_ready=pytest.fail, ready_timeout_s=0.2)


def test_a_stop_while_waiting_ends_the_wait(child: MakeChild) -> None:
    stop = StopRequest()

    run_together([child(ready_url=NOWHERE)], stop, announce=lambda line: stop.ask(), on_ready=pytest.fail)

    assert stop.wait(0)


@pytest.mark.parametrize("is_grandchild", [False, True])
@pytest.mark.parametrize("is_urgent", [False, True])
def test_what_ignores_sigterm_is_killed_after_the_limit_or_at_once_when_asked_twice(
    child: MakeChild, pipe: Pipe, is_urgent: bool, is_grandchild: bool
) -> None:
    script = STUBBORN.format(tell=pipe.tell)
    if is_grandchild:
        script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {script!r}])\n{SLEEPER}"
    stop = StopRequest()

    def ask() -> None:
        pipe.open()
        stop.ask()
        if is_urgent:
            stop.ask()

    run_together([child(script)], stop, announce=ignore, on_ready=ask, stop_timeout_s=600.0 if is_urgent else 0.2)

    assert pipe.has_ended()


@pytest.mark.parametrize("is_urgent", [False, True])
def test_a_worker_in_its_own_session_ends_with_its_master(is_urgent: bool, child: MakeChild, pipe: Pipe) -> None:
    worker = (STUBBORN if is_urgent else "{tell}\n" + SLEEPER).format(tell=pipe.tell)
    start = f"subprocess.Popen([sys.executable, '-c', {worker!r}], start_new_session=True)"
    script = f"import os, signal, subprocess, sys; {start}; os.kill(os.getpid(), signal.SIGKILL)"
    stop = StopRequest()
    if is_urgent:
        stop.ask()
        stop.ask()
    with contextlib.ExitStack() as expected:
        if not is_urgent:
            expected.enter_context(pytest.raises(ChildFailedError, match="one was ended by SIGKILL"))
        run_together([child(script, ready_url=NOWHERE)], stop, announce=lambda line: pipe.open(), on_ready=pytest.fail)

    assert pipe.has_ended()


TELL_PARENT = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); signal.pause()"


@pytest.mark.parametrize(("script", "code"), [("pass", 0), ("raise SystemExit(3)", 3), (TELL_PARENT, -signal.SIGTERM)])
def test_a_command_in_the_foreground_gives_its_exit_code_and_ends_when_this_process_is_to_stop(
    script: str, code: int
) -> None:
    assert run_to_end([sys.executable, "-c", script]) == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_ask_to_stop_and_their_handlers_are_restored(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    with stop_on_signals() as stop:
        signal.raise_signal(number)
        assert stop.wait(0)
        assert not stop.is_urgent
        signal.raise_signal(number)
        assert stop.is_urgent

    assert signal.getsignal(number) is before
