"""`lightbox serve`, `lightbox dashboard` and `lightbox up`: the product's servers, alone and together."""

import fcntl
import importlib.util
import os
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, Protocol, TextIO

from bento_service.cli.errors import CommandError, ExitCode
from bento_service.cli.launch import Child, ChildFailedError, Command, Patience, run_together, stop_on_signals
from bento_service.cli.models import prepare_in_subprocess
from bento_service.cli.ports import ANY_ADDRESSES, AddressUnusableError, PortTakenError, check_port_free, local_url
from bento_service.engines.factory import check_engine
from bento_service.errors import CacheUrlError, JournalUrlError
from bento_service.settings import BENTO_PATH, Settings
from lightbox_client import Client

SERVICE_IMPORT = "bento_service.service:LightboxService"
STOP_MARGIN_S = 5.0
"""What a stopping service gets beyond the time that its workers' own steps may take, for its processes to leave."""
_SERVER_PATIENCE_S = 2
"""Longer than `BoundedHttpProtocol.stop_timeout_s`, and within `SERVER_STOP_S` with the turns that uvicorn takes."""


class ReplaceProcess(Protocol):
    """As `os.execvpe`: this process becomes that one, which then gets the signals that were meant for it."""

    def __call__(self, file: str, args: tuple[str, ...], env: Mapping[str, str], /) -> NoReturn:
        """Never return."""


def service_command(settings: Settings, environment: Mapping[str, str]) -> Command:
    """Return what starts the service. It reads the rest of its settings from its environment."""
    bento = environment.get(BENTO_PATH) or SERVICE_IMPORT
    argv = (sys.executable, "-m", "bentoml", "serve", bento)
    address = ("--host", settings.host, "--port", str(settings.port))
    # Only for what a worker could not end by itself: it tells uvicorn to stop once the drain is over.
    patience = ("--timeout-graceful-shutdown", str(_SERVER_PATIENCE_S))
    chosen = {
        "LIGHTBOX_HOST": settings.host,
        "LIGHTBOX_PORT": str(settings.port),
        "LIGHTBOX_WORKERS": str(settings.worker_count),
        "LIGHTBOX_MODELS": ",".join(settings.models),
    }
    # BentoML's usage reports go over the network, which an operator should choose rather than find out about. glibc
    # gives threads heaps of their own, which keep what decoding has freed: two are as fast, and smaller (ADR 11).
    defaults = {"BENTOML_DO_NOT_TRACK": "True", "MALLOC_ARENA_MAX": "2"}
    return Command(argv + address + patience, defaults | dict(environment) | chosen)


def dashboard_command(settings: Settings, service_url: str, environment: Mapping[str, str]) -> Command:
    """Return what starts the dashboard.

    Raises:
        CommandError: Streamlit or the dashboard is not installed.
    """
    argv = (sys.executable, "-m", "streamlit", "run", str(find_dashboard_script()), "--server.headless", "true")
    address = ("--server.address", settings.dashboard_host, "--server.port", str(settings.dashboard_port))
    return Command(argv + address, dict(environment) | {"LIGHTBOX_URL": service_url})


def find_dashboard_script() -> Path:
    """Return where the dashboard's script is, without importing it.

    Raises:
        CommandError: Streamlit or the dashboard is not installed.
    """
    folders: list[str] = []
    for package in ("streamlit", "dashboard"):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.submodule_search_locations is None:
            raise CommandError(f"{package} is not installed; run `pip install -r requirements-dashboard.txt`")
        folders = list(spec.submodule_search_locations)
    return Path(folders[0]) / "app.py"


def serve(
    settings: Settings,
    *,
    prepare: Callable[[Sequence[str]], None] = prepare_in_subprocess,
    replace_process: ReplaceProcess | None = None,
) -> NoReturn:
    """Prepare what is missing, then become the service. A container's bento sees to its models as it is deployed.

    In a container that is without another start of the interpreter, which would only take time: what has to be in the
    environment from a process's first moment on is so by the image.

    Raises:
        CommandError: The port is taken, the journal's URL is none, or a model cannot be had.
        EngineUnavailableError: The engine or the device of the settings is not there.
    """
    _demand_port(settings.host, settings.port, "--port", "PORT")
    _demand_journal(settings)
    _demand_cache(settings)
    check_engine(settings.engine, settings.device)
    is_container = bool(os.environ.get(BENTO_PATH))
    if not is_container:
        prepare(settings.models)
    command = service_command(settings, os.environ)
    replace_process = replace_process or (go_on_as_module if is_container else os.execvpe)
    replace_process(command.argv[0], command.argv, command.env)


def go_on_as_module(file: str, args: tuple[str, ...], env: Mapping[str, str]) -> NoReturn:
    """Run `python -m <module> …` as the rest of this process, whose libraries are loaded already; see `os.execvpe`."""
    _, _, module, *rest = args
    os.environ.update(env)
    sys.argv = [file, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()


def show_dashboard(settings: Settings, service_url: str, *, replace_process: ReplaceProcess = os.execvpe) -> NoReturn:
    """Become the dashboard.

    Raises:
        CommandError: The port is taken, or the dashboard is not installed.
        InvalidAddressError: `service_url` is no http or https URL.
    """
    Client(service_url).close()
    _demand_port(settings.dashboard_host, settings.dashboard_port, "--port", "DASHBOARD_PORT")
    command = dashboard_command(settings, service_url, os.environ)
    replace_process(command.argv[0], command.argv, command.env)


def up(settings: Settings, output: TextIO, *, prepare: Callable[[Sequence[str]], None] = prepare_in_subprocess) -> None:
    """Run service and dashboard until Ctrl-C, SIGTERM or a closed terminal stops both.

    Raises:
        CommandError: Another `lightbox up` uses the data folder, a port is taken, the journal's URL is none, a model
            cannot be had, or one of the two ended by itself.
        EngineUnavailableError: The engine or the device of the settings is not there.
    """
    _demand_two_addresses(settings)
    service_url = local_url(settings.host, settings.port)
    dashboard_url = local_url(settings.dashboard_host, settings.dashboard_port)
    children = children_of(settings, service_url, dashboard_url)
    logs = children[0].log.parent
    with _logs_locked(logs, f"process {os.getpid()}: {service_url}, {dashboard_url}"):
        _demand_port(settings.host, settings.port, "--port", "PORT")
        _demand_port(settings.dashboard_host, settings.dashboard_port, "--dashboard-port", "DASHBOARD_PORT")
        _demand_journal(settings)
        _demand_cache(settings)
        check_engine(settings.engine, settings.device)
        prepare(settings.models)

        def announce(line: str) -> None:
            output.write(f"{line}\n")
            output.flush()

        def greet() -> None:
            announce(f"\n  Dashboard  {dashboard_url}\n  Service    {service_url}  (API: {service_url}/v1/docs)")
            announce(f"  Logs       {logs}\n\nCtrl-C stops both.")

        patience = Patience(stop_s=settings.stop_timeout_s + STOP_MARGIN_S)
        with stop_on_signals() as stop:
            try:
                run_together(children, stop, announce=announce, on_ready=greet, patience=patience)
            except ChildFailedError as error:
                raise CommandError(str(error)) from error
            except BrokenPipeError:
                raise  # nobody reads `output` any more
            except OSError as error:
                raise _no_logs(logs, error) from error
        announce("\nStopped.")


@contextmanager
def _logs_locked(folder: Path, holder: str) -> Iterator[None]:
    """Keep any other `lightbox up` from writing to this folder; `holder` says in its error who does.

    The system releases the lock when this process ends, also by SIGKILL.

    Raises:
        CommandError: Another process holds the lock, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "up.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise _no_logs(folder, error) from error
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


def _no_logs(folder: Path, error: OSError) -> CommandError:
    reason = error.strerror or error
    return CommandError(f"cannot keep logs in {folder}: {reason}; choose another LIGHTBOX_DATA_DIR")


def children_of(settings: Settings, service_url: str, dashboard_url: str) -> tuple[Child, Child]:
    """Return both servers, as `up` runs them.

    Raises:
        CommandError: The dashboard is not installed.
    """
    logs = settings.data_dir / "logs"
    service = service_command(settings, os.environ)
    dashboard = dashboard_command(settings, service_url, os.environ)
    return (
        Child("the service", service, f"{service_url}/readyz", logs / "service.log", f"{service_url}/livez"),
        Child("the dashboard", dashboard, f"{dashboard_url}/_stcore/health", logs / "dashboard.log"),
    )


def _demand_two_addresses(settings: Settings) -> None:
    hosts = {settings.host, settings.dashboard_host}
    if settings.port == settings.dashboard_port and (len(hosts) == 1 or hosts & ANY_ADDRESSES.keys()):
        raise CommandError(
            f"service and dashboard cannot both listen on port {settings.port}; choose another with --dashboard-port",
            ExitCode.BAD_INPUT,
        )


def _demand_journal(settings: Settings) -> None:
    from bento_service.database.url import parse_url  # noqa: PLC0415 - SQLAlchemy is heavy, and help needs none

    try:
        parse_url(settings.resolved_journal_url)
    except JournalUrlError as error:
        raise CommandError(f"LIGHTBOX_JOURNAL_URL: {error}", ExitCode.BAD_INPUT) from error


def _demand_cache(settings: Settings) -> None:
    if settings.cache_url is None:
        return
    from bento_service.cache.redis_url import open_pool  # noqa: PLC0415 - most services have no use for redis-py

    try:
        open_pool(settings.cache_url.get_secret_value())
    except CacheUrlError as error:
        raise CommandError(f"LIGHTBOX_CACHE_URL: {error}", ExitCode.BAD_INPUT) from error


def _demand_port(host: str, port: int, option: str, variable: str) -> None:
    try:
        check_port_free(host, port)
    except PortTakenError as error:
        advice = f"stop that process or choose another port: {option} {port + 1}, or `make up {variable}={port + 1}`"
        raise CommandError(f"{error}; {advice}") from error
    except AddressUnusableError as error:
        raise CommandError(str(error)) from error
