"""Starts child processes, waits until they answer, and stops them together with everything that they started."""

import signal
import subprocess
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import psutil
import requests

from bento_service.observability.processes import describe_exit

_MARK = "LIGHTBOX_PROCESS_MARK"
_POLL_S = 0.1
_TAIL_LINES = 15
_STDERR = 2
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: the program and its arguments, and its whole environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Child:
    """A server to start. It is ready when `ready_url` answers 200; what it prints goes to the file `log`.

    `address` is the one for a browser.
    """

    name: str
    command: Command
    address: str
    ready_url: str
    log: Path


class MarkedProcesses:
    """A process and all its descendants, found by a mark in their environment, which processes inherit.

    BentoML's workers run in sessions of their own and outlive a master that was killed. So neither the process group
    nor the tree of parents finds them. A process of another user is never found.
    """

    def __init__(self) -> None:
        self._mark = uuid.uuid4().hex

    @property
    def environment(self) -> dict[str, str]:
        """The variable that the first process needs in its environment."""
        return {_MARK: self._mark}

    def find(self) -> list[psutil.Process]:
        """Return the processes that carry the mark and still run."""
        running = psutil.process_iter(["environ"])
        return [process for process in running if (process.info["environ"] or {}).get(_MARK) == self._mark]

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to each of them."""
        for process in self.find():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


@dataclass(frozen=True, slots=True)
class _Running:
    """A child that was started, and all its processes."""

    child: Child
    process: "subprocess.Popen[bytes]"
    processes: MarkedProcesses


class ChildFailedError(Exception):
    """A child ended by itself or was not ready in time; the message ends with the last lines of its log."""


class StopRequest:
    """Set when the children are to stop. Safe to set from a signal handler."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.is_urgent = False
        """Whether it was asked twice: the children are killed without waiting for them."""

    def ask(self) -> None:
        """Ask to stop."""
        self.is_urgent = self._asked.is_set()
        self._asked.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until asked, at most that long; whether it was."""
        return self._asked.wait(timeout_s)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C, SIGTERM and a closed terminal into a stop request. Main thread only; restores the handlers."""
    request = StopRequest()
    previous = {number: signal.signal(number, lambda *_: request.ask()) for number in _STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run_to_end(argv: Sequence[str]) -> int:
    """Run a command in the foreground and return its exit code; what it prints to stdout goes to stderr.

    Where this process is asked to stop, the command is ended first. Main thread only.
    """
    with stop_on_signals() as stop, subprocess.Popen(argv, stdout=_STDERR) as process:  # noqa: S603 - our own command
        while process.poll() is None:
            if stop.wait(_POLL_S):
                process.terminate()
                process.wait()
    return process.returncode


def run_together(
    children: Sequence[Child],
    stop: StopRequest,
    *,
    announce: Callable[[str], None],
    on_ready: Callable[[], None],
    stop_timeout_s: float = 40.0,
    ready_timeout_s: float = 600.0,
) -> None:
    """Start the children, call `on_ready` once all of them answer, and return after `stop` was asked for.

    When this returns or raises, the children and all their descendants have ended: by SIGTERM, or by SIGKILL after
    `stop_timeout_s`. `announce` gets lines for the person who waits.

    Raises:
        ChildFailedError: A child ended by itself, failed to start, or was not ready in time.
        OSError: The folder of a log cannot be made, or a log not be written.
    """
    running: list[_Running] = []
    try:
        running.extend(_start(child) for child in children)
        if _wait_until_ready(running, stop, announce, ready_timeout_s):
            on_ready()
            while not stop.wait(_POLL_S):
                _check_alive(running)
    finally:
        _stop_all(running, stop, stop_timeout_s)


def _start(child: Child) -> _Running:
    child.log.parent.mkdir(parents=True, exist_ok=True)
    processes = MarkedProcesses()
    # A session of its own keeps the terminal's Ctrl-C from the child, so that it is stopped once and in order.
    with child.log.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - the product's own servers
            child.command.argv,
            env={**child.command.env, **processes.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _Running(child, process, processes)


def _wait_until_ready(
    running: Sequence[_Running], stop: StopRequest, announce: Callable[[str], None], timeout_s: float
) -> bool:
    """Whether all became ready; False where a stop was asked for first."""
    started_s = time.monotonic()
    waiting = [server.child for server in running]
    announce(f"Starting {' and '.join(f'the {child.name}' for child in waiting)} …")
    while waiting:
        if stop.wait(_POLL_S):
            return False
        _check_alive(running)
        waited_s = time.monotonic() - started_s
        for child in [each for each in waiting if _is_ready(each.ready_url)]:
            waiting.remove(child)
            announce(f"  {child.name.capitalize():<10} {child.address}  (ready after {waited_s:.1f} s)")
        if waiting and waited_s > timeout_s:
            raise ChildFailedError(
                f"the {waiting[0].name} was not ready within {timeout_s:g} s.{_tail(waiting[0].log)}"
            )
    return True


def _check_alive(running: Sequence[_Running]) -> None:
    for server in running:
        code = server.process.poll()
        if code is not None:
            raise ChildFailedError(f"the {server.child.name} {describe_exit(code)}.{_tail(server.child.log)}")


def _is_ready(url: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False  # the children are on this machine, and no proxy leads there
        try:
            return session.get(url, timeout=2).status_code == HTTPStatus.OK
        except requests.RequestException:
            return False


def _tail(log: Path) -> str:
    with log.open(encoding="utf-8", errors="replace") as lines:
        last = deque((line.rstrip() for line in lines if line.strip()), maxlen=_TAIL_LINES)
    return "".join(["\n", f"The end of {log}:", *(f"\n  {line}" for line in last)]) if last else f" {log} is empty."


def _stop_all(running: Sequence[_Running], stop: StopRequest, limit_s: float) -> None:
    # A child that leaves when asked takes its own along. One that ended by itself left them with work to finish.
    crashed = [server for server in running if server.process.poll() is not None]
    for server in running:
        server.process.terminate()
    for server in crashed:
        server.processes.send_signal(signal.SIGTERM)
    give_up_s = time.monotonic() + limit_s
    while any(server.process.poll() is None for server in running) or any(each.processes.find() for each in crashed):
        if stop.is_urgent or time.monotonic() > give_up_s:
            break
        time.sleep(_POLL_S)
    for server in running:
        server.processes.send_signal(signal.SIGKILL)
        server.process.kill()
        server.process.wait()
