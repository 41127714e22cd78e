"""`lightbox up`: service and dashboard together."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from bento_service.cli.errors import CommandError, ExitCode
from bento_service.cli.launch import Child, ChildFailedError, run_together, stop_on_signals
from bento_service.cli.models.preparing import prepare_in_subprocess
from bento_service.cli.serve import (
    ANY_ADDRESSES,
    PrepareModels,
    dashboard_command,
    local_url,
    prepare_start,
    require_free_port,
    service_command,
)
from bento_service.settings import Settings

STOP_MARGIN_S = 5.0
"""Time for the service's processes to exit, beyond what the workers' own steps of stopping may take."""


def up(settings: Settings, output: TextIO, *, prepare: PrepareModels = prepare_in_subprocess) -> None:
    """Run service and dashboard until Ctrl-C, SIGTERM or a closed terminal stops both.

    Raises:
        CommandError: Another `lightbox up` uses the data folder, a port is taken, or one of the two ended by itself.
        LightboxError: As in `prepare_start`.
    """
    _require_two_addresses(settings)
    service_url = local_url(settings.host, settings.port)
    dashboard_url = local_url(settings.dashboard_host, settings.dashboard_port)
    children = children_of(settings, service_url, dashboard_url)
    logs = children[0].log.parent
    with _locked(logs, f"process {os.getpid()}: {service_url}, {dashboard_url}"):
        require_free_port(settings.dashboard_host, settings.dashboard_port, "--dashboard-port", "DASHBOARD_PORT")
        prepare_start(settings, prepare)

        def announce(line: str) -> None:
            output.write(f"{line}\n")
            output.flush()

        def greet() -> None:
            announce(f"API: {service_url}/v1/docs, logs: {logs}. Ctrl-C stops both.")

        stop_timeout_s = settings.stop_timeout_s + STOP_MARGIN_S
        with stop_on_signals() as stop:
            try:
                run_together(children, stop, announce=announce, on_ready=greet, stop_timeout_s=stop_timeout_s)
            except ChildFailedError as error:
                raise CommandError(str(error)) from error
            except BrokenPipeError:
                raise  # nobody reads `output` any more
            except OSError as error:
                raise _logs_error(logs, error) from error
        announce("\nStopped.")


def children_of(settings: Settings, service_url: str, dashboard_url: str) -> tuple[Child, Child]:
    """Return both servers, as `up` runs them.

    Raises:
        CommandError: The dashboard is not installed.
    """
    logs = settings.data_dir / "logs"
    service = service_command(settings, os.environ)
    dashboard = dashboard_command(settings, service_url, os.environ)
    return (
        Child("service", service, service_url, f"{service_url}/readyz", logs / "service.log"),
        Child("dashboard", dashboard, dashboard_url, f"{dashboard_url}/_stcore/health", logs / "dashboard.log"),
    )


@contextmanager
def _locked(folder: Path, holder: str) -> Iterator[None]:
    """Keep any other `lightbox up` from writing to this folder; its error names the holder.

    The system releases the lock when this process ends, also by SIGKILL.

    Raises:
        CommandError: Another process holds the lock, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "up.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise _logs_error(folder, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise CommandError(
                f"another `lightbox up` ({lock.read()}) uses {folder.parent}; stop it, or choose another folder with "
                "LIGHTBOX_DATA_DIR"
            ) from error
        except OSError:
            """The file system has no locks."""
        lock.truncate(0)
        lock.write(holder)
        lock.flush()
        yield


def _logs_error(folder: Path, error: OSError) -> CommandError:
    reason = error.strerror or error
    return CommandError(f"cannot keep logs in {folder}: {reason}; choose another LIGHTBOX_DATA_DIR")


def _require_two_addresses(settings: Settings) -> None:
    hosts = {settings.host, settings.dashboard_host}
    if settings.port == settings.dashboard_port and (len(hosts) == 1 or hosts & ANY_ADDRESSES.keys()):
        raise CommandError(
            f"service and dashboard cannot both listen on port {settings.port}; choose another with --dashboard-port",
            ExitCode.BAD_INPUT,
        )
