import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento_service.cli.launch import (
    Child,
    ChildFailedError,
    Command,
    Patience,
    StopRequest,
    run_to_end,
    run_together,
    stop_on_signals,
)
from tests.fakes.service import FakeService

SLEEPER = "import signal; signal.pause()"
"""A server as far as its process is concerned; the fake service answers for its readiness."""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{tell}\nwhile True: signal.pause()"
CRASHING = "import sys; [print('line', n) for n in range(40)]; sys.exit('the last word')"
TELL = "import os, pathlib; pathlib.Path({pipe!r}).write_text(str(os.getpid()))"
"""Tells its process id through a named pipe: whoever reads it waits until then."""


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as running:
        yield running


def child(name: str, script: str, ready_url: str, folder: Path) -> Child:
    return Child(name, Command((sys.executable, "-c", script), os.environ), ready_url, folder / "logs" / f"{name}.log")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pid"
    os.mkfifo(path)
    return path


def has_ended(process: int) -> bool:
    """Whether the process behind this pidfd ends, collected or not; SIGKILL takes a moment."""
    readable, _, _ = select.select([process], [], [], 30)
    os.close(process)
    return bool(readable)


def test_both_are_started_waited_for_announced_and_stopped(service: FakeService, tmp_path: Path, pipe: Path) -> None:
    scripts = {"one": f"{TELL.format(pipe=str(pipe))}\n{SLEEPER}", "two": SLEEPER}
    children = [child(name, script, f"{service.url}/readyz", tmp_path) for name, script in scripts.items()]
    stop, lines, processes = StopRequest(), list[str](), list[int]()

    def ask() -> None:
        processes.append(os.pidfd_open(int(pipe.read_text())))
        stop.ask()

    run_together(children, stop, announce=lines.append, on_ready=ask)

    assert lines[0] == "Waiting for one and two …"
    assert [line.split(" after")[0] for line in lines[1:]] == ["  one is ready", "  two is ready"]
    assert has_ended(processes[0])


def test_no_proxy_of_the_environment_is_asked_whether_a_child_is_ready(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    stop = StopRequest()

    run_together(
        [child("one", SLEEPER, f"{service.url}/readyz", tmp_path)], stop, announce=lambda line: None, on_ready=stop.ask
    )

    assert len(service.seen("/readyz")) == 1


def test_nothing_is_ready_before_it_answers(service: FakeService, tmp_path: Path) -> None:
    service.is_loading = True
    stop = StopRequest()
    ready: list[bool] = []

    def announce(line: str) -> None:
        service.is_loading = False  # the first line comes while it is still loading

    def note() -> None:
        ready.append(not service.is_loading)
        stop.ask()

    run_together([child("one", SLEEPER, f"{service.url}/readyz", tmp_path)], stop, announce=announce, on_ready=note)

    assert ready == [True]


def test_a_child_that_dies_is_named_with_the_end_of_its_log_and_the_other_is_stopped(
    service: FakeService, tmp_path: Path
) -> None:
    children = [
        child("healthy", SLEEPER, f"{service.url}/readyz", tmp_path),
        child("crashing", CRASHING, "http://127.0.0.1:1/readyz", tmp_path),
    ]

    with pytest.raises(ChildFailedError) as failed:
        run_together(children, StopRequest(), announce=lambda line: None, on_ready=pytest.fail)

    message = str(failed.value)
    assert message.startswith("crashing ended with exit code 1.\nThe end of ")
    assert message.endswith("\n  line 39\n  the last word")
    assert "line 20\n" not in message


def test_a_child_that_dies_later_ends_the_run_too(service: FakeService, tmp_path: Path, pipe: Path) -> None:
    script = f"{TELL.format(pipe=str(pipe))}\n{SLEEPER}"
    mortal = child("mortal", script, f"{service.url}/readyz", tmp_path)

    def kill() -> None:
        os.kill(int(pipe.read_text()), signal.SIGKILL)

    with pytest.raises(ChildFailedError, match=r"mortal was ended by SIGKILL \(out of memory\?\)\."):
        run_together([mortal], StopRequest(), announce=lambda line: None, on_ready=kill)


def test_a_child_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/readyz"
    late = child("late", SLEEPER, url, tmp_path)

    with pytest.raises(ChildFailedError, match=r"late was not ready within 0\.2 s"):
        run_together(
            [late], StopRequest(), announce=lambda line: None, on_ready=pytest.fail, patience=Patience(ready_s=0.2)
        )


def test_a_child_that_is_not_ready_is_waited_for(service: FakeService, tmp_path: Path) -> None:
    service.refuse("not_ready", path="/readyz", times=3)
    stop = StopRequest()
    slow = child("slow", SLEEPER, f"{service.url}/readyz", tmp_path)

    run_together([slow], stop, announce=lambda line: None, on_ready=stop.ask)

    assert len(service.seen("/readyz")) == 4


@pytest.mark.parametrize("is_urgent", [True, False])
def test_a_child_that_ignores_sigterm_is_killed_in_time_or_at_once_when_asked_twice(
    service: FakeService, tmp_path: Path, pipe: Path, is_urgent: bool
) -> None:
    script = STUBBORN.format(tell=TELL.format(pipe=str(pipe)))
    stubborn = child("stubborn", script, f"{service.url}/readyz", tmp_path)
    stop, processes = StopRequest(), list[int]()

    def ask() -> None:
        processes.append(os.pidfd_open(int(pipe.read_text())))
        stop.ask()
        if is_urgent:
            stop.ask()

    patience = Patience(stop_s=600.0 if is_urgent else 0.2)
    run_together([stubborn], stop, announce=lambda line: None, on_ready=ask, patience=patience)

    assert has_ended(processes[0])


def test_a_stop_while_waiting_ends_the_wait(tmp_path: Path) -> None:
    stop = StopRequest()
    late = child("late", SLEEPER, "http://127.0.0.1:1/readyz", tmp_path)

    run_together([late], stop, announce=lambda line: stop.ask(), on_ready=pytest.fail)

    assert stop.wait(0)


def test_what_a_child_left_behind_goes_with_it(service: FakeService, tmp_path: Path, pipe: Path) -> None:
    grandchild = STUBBORN.format(tell=TELL.format(pipe=str(pipe)))
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {grandchild!r}])\n{SLEEPER}"
    stop, processes = StopRequest(), list[int]()

    def ask() -> None:
        processes.append(os.pidfd_open(int(pipe.read_text())))
        stop.ask()

    parent = child("parent", script, f"{service.url}/readyz", tmp_path)
    run_together([parent], stop, announce=lambda line: None, on_ready=ask)

    assert has_ended(processes[0])


@pytest.mark.parametrize("is_urgent", [False, True])
def test_a_worker_in_a_session_of_its_own_goes_with_its_master_however_that_ends(
    is_urgent: bool, service: FakeService, tmp_path: Path, pipe: Path
) -> None:
    worker = (STUBBORN if is_urgent else "{tell}\n" + SLEEPER).format(tell=TELL.format(pipe=str(pipe)))
    start = f"subprocess.Popen([sys.executable, '-c', {worker!r}], start_new_session=True)"
    script = f"import os, signal, subprocess, sys; {start}; os.kill(os.getpid(), signal.SIGKILL)"
    stop, processes = StopRequest(), list[int]()

    def note(line: str) -> None:
        processes.append(os.pidfd_open(int(pipe.read_text())))

    if is_urgent:
        stop.ask()
        stop.ask()
    with contextlib.ExitStack() as expected:
        if not is_urgent:
            expected.enter_context(pytest.raises(ChildFailedError, match="master was ended by SIGKILL"))
        run_together(
            [child("master", script, "http://127.0.0.1:9/readyz", tmp_path)],
            stop,
            announce=note,
            on_ready=pytest.fail,
        )

    assert has_ended(processes[0])


@pytest.mark.parametrize(("script", "code"), [("pass", 0), ("raise SystemExit(3)", 3)])
def test_a_command_in_the_foreground_gives_its_exit_code(script: str, code: int) -> None:
    assert run_to_end([sys.executable, "-c", script]) == code


def test_a_command_in_the_foreground_ends_with_who_wanted_it() -> None:
    tell_parent = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); signal.pause()"

    assert run_to_end([sys.executable, "-c", tell_parent]) == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_ask_to_stop_and_are_handled_as_before_afterwards(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    with stop_on_signals() as stop:
        signal.raise_signal(number)
        assert stop.wait(0)
        assert not stop.is_urgent
        signal.raise_signal(number)
        assert stop.is_urgent

    assert signal.getsignal(number) is before
