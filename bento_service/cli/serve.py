"""`lightbox serve` and `lightbox dashboard`: check what a server needs, then replace this process with it."""

import errno
import importlib.util
import os
import runpy
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from bento_service.cli.errors import CommandError, ExitCode
from bento_service.cli.launch import Command
from bento_service.cli.models.preparing import prepare_in_subprocess
from bento_service.domain.model_names import is_preparable
from bento_service.extras import explain_missing
from bento_service.models.store import BentoModelStore
from bento_service.settings import BENTO_PATH, Settings, is_loopback
from lightbox_client import Client

SERVICE_IMPORT = "bento_service.service:LightboxService"
ANY_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound
_PACKAGES = Path(__file__).parents[2]
"""The folder of `bento_service`, and of the dashboard where that is installed: a checkout, or site-packages."""
_SERVER_PATIENCE_S = 2
"""Longer than `BoundedHttpProtocol.stop_timeout_s`; with what uvicorn itself takes, within `SERVER_STOP_S`."""

_SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""With this variable `python -m` does not look for modules in the current folder."""

PrepareModels: TypeAlias = Callable[[Sequence[str]], None]
"""Takes the arguments of `lightbox models prepare`: names of models, and perhaps `--torch-program` before them."""
ReplaceProcess: TypeAlias = Callable[[str, tuple[str, ...], Mapping[str, str]], NoReturn]
"""As `os.execvpe`: the program takes over this process, and gets the signals that are sent to it."""


def service_command(settings: Settings, environment: Mapping[str, str]) -> Command:
    """Return the command that starts the service. The service reads all other settings from its environment.

    Outside a container it runs in the folder of `bento_service`: BentoML imports the service from the folder in which
    it runs before all others, and modules of the user's must not take the place of ours or of a library.
    """
    bento = environment.get(BENTO_PATH)
    served = (bento,) if bento else (SERVICE_IMPORT, "--working-dir", str(_PACKAGES))
    argv = (sys.executable, "-m", "bentoml", "serve", *served)
    address = ("--host", settings.host, "--port", str(settings.port))
    # A worker stops uvicorn once its drain is over; this limit is for connections that are still open then.
    patience = ("--timeout-graceful-shutdown", str(_SERVER_PATIENCE_S))
    chosen = {
        "LIGHTBOX_HOST": settings.host,
        "LIGHTBOX_PORT": str(settings.port),
        "LIGHTBOX_WORKERS": str(settings.worker_count),
        "LIGHTBOX_MODELS": ",".join(settings.models),
    }
    # BentoML's usage reports leave the machine: off unless an operator turns them on. Two glibc arenas are as fast as
    # one per thread, and hold less of the memory that decoding has freed (ADR 11).
    defaults = {"BENTOML_DO_NOT_TRACK": "True", "MALLOC_ARENA_MAX": "2"}
    if not bento:
        chosen |= _SAFE_PATH | _absolute_paths(settings, environment)
    return Command(argv + address + patience, defaults | dict(environment) | chosen)


def dashboard_command(settings: Settings, service_url: str, environment: Mapping[str, str]) -> Command:
    """Return the command that starts the dashboard.

    Raises:
        CommandError: Streamlit or the dashboard is not installed.
    """
    script = _PACKAGES / "dashboard" / "app.py"
    if importlib.util.find_spec("streamlit") is None or not script.is_file():
        raise CommandError(explain_missing("The dashboard", "dashboard"))
    argv = (sys.executable, "-m", "streamlit", "run", str(script), "--server.headless", "true")
    address = ("--server.address", settings.dashboard_host, "--server.port", str(settings.dashboard_port))
    return Command(argv + address, dict(environment) | {"LIGHTBOX_URL": service_url} | _SAFE_PATH)


def serve(
    settings: Settings,
    *,
    prepare: PrepareModels = prepare_in_subprocess,
    replace_process: ReplaceProcess | None = None,
) -> NoReturn:
    """Prepare the start, then become the service; raises as `prepare_start`.

    In a container this interpreter goes on as the service: a second start would only take time, since the image already
    sets what an interpreter reads as it starts.
    """
    prepare_start(settings, prepare)
    command = service_command(settings, os.environ)
    replace_process = replace_process or (run_as_module if os.environ.get(BENTO_PATH) else os.execvpe)
    replace_process(command.argv[0], command.argv, command.env)


def run_as_module(file: str, args: tuple[str, ...], env: Mapping[str, str]) -> NoReturn:
    """Run `python -m MODULE …` in this interpreter, whose libraries are loaded already; a `ReplaceProcess`."""
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
    require_free_port(settings.dashboard_host, settings.dashboard_port, "--port", "DASHBOARD_PORT")
    command = dashboard_command(settings, service_url, os.environ)
    replace_process(command.argv[0], command.argv, command.env)


def preflight(settings: Settings) -> None:
    """Refuse settings with which no worker could start. Imports a library only for a setting that is set.

    Raises:
        EngineUnavailableError: The engine or the device of the settings is not there.
        JournalUrlError: The journal's URL is invalid.
        CacheUrlError: The cache's URL is invalid.
        CommandError: Strangers could change what is served.
    """
    if settings.model_control == "explicit" and not (settings.allow_anonymous or is_loopback(settings.host)):
        raise CommandError(
            f"LIGHTBOX_MODEL_CONTROL is explicit and LIGHTBOX_HOST is {settings.host}: everyone who reaches the port "
            "could change what is served, since there are no keys yet. Set LIGHTBOX_ALLOW_ANONYMOUS=true if that is "
            "meant, for instance behind a proxy that asks for a password; or serve on 127.0.0.1; or set "
            "LIGHTBOX_MODEL_CONTROL=fixed.",
            ExitCode.BAD_INPUT,
        )
    if (settings.engine, settings.device) != ("auto", "auto"):
        from bento_service.engines.choice import check_engine

        check_engine(settings.engine, settings.device)
    if settings.journal_url is not None:
        from bento_service.database.url import parse_url

        parse_url(settings.resolved_journal_url)
    if settings.cache_url is not None:
        from bento_service.cache.redis_url import open_pool

        open_pool(settings.cache_url.get_secret_value())


def prepare_start(settings: Settings, prepare: PrepareModels) -> None:
    """Check that the service can start, then prepare the models that are missing; in a container its bento does that.

    Raises:
        CommandError: The port is taken, or a model cannot be had.
        LightboxError: As `preflight`; or the model store cannot be read.
    """
    require_free_port(settings.host, settings.port, "--port", "PORT")
    preflight(settings)
    if not os.environ.get(BENTO_PATH) and (wanted := list_to_prepare(settings)):
        prepare(wanted)


def list_to_prepare(settings: Settings, wants_programs: Callable[[Settings], bool] | None = None) -> tuple[str, ...]:
    """Return the arguments with which `lightbox models prepare` adds what is missing; empty if nothing is.

    Where PyTorch will run the models, each needs its torch program too. Bundled models of an earlier Lightbox are
    prepared again, but in a container, which lacks what this takes. Nobody knows where an imported model comes
    from: one that is missing is an error; or, where the API may change what is served, left out: workers say that it
    is FAILED, and serve the others.

    Raises:
        ModelLoadError: The model store cannot be read, or lacks an imported model.
    """
    store = BentoModelStore(also=settings.model_store)
    names = [name for name in settings.models if is_preparable(name)]
    if settings.model_control == "fixed":
        for name in settings.models:
            if name not in names:
                store.load(name)
    has_programs = (wants_programs or _wants_programs)(settings)
    renews = not os.environ.get(BENTO_PATH)
    stored = ((name, store.find(name)) for name in names)
    lacking = [
        name
        for name, model in stored
        if model is None or (renews and model.is_outdated) or (has_programs and model.program_path is None)
    ]
    return ("--torch-program", *lacking) if has_programs and lacking else tuple(lacking)


def _wants_programs(settings: Settings) -> bool:
    # A container's models are complete. Without PyTorch there is nothing to ask, which takes time.
    if os.environ.get(BENTO_PATH) or importlib.util.find_spec("torch") is None:
        return False
    from bento_service.engines.choice import wants_programs

    return wants_programs(settings.engine, settings.device)


def require_free_port(host: str, port: int, option: str, variable: str) -> None:
    """Return if a server could listen on `host:port` now; `option` and `variable` are for the advice.

    Binds without SO_REUSEPORT: two BentoML servers of one user would otherwise share a port unnoticed.

    Raises:
        CommandError: The port is taken, or the address is not one of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise CommandError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        advice = f"stop that process or choose another port: {option} {port + 1}, or `make up {variable}={port + 1}`"
        raise CommandError(f"port {port} on {host} is taken by another process; {advice}") from error


def local_url(host: str, port: int) -> str:
    """Return the URL by which this machine reaches a server bound to `host`, which may be a wildcard."""
    reachable = ANY_ADDRESSES.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _absolute_paths(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that may hold a relative path with an absolute one, for a process in another folder."""
    paths = {f"LIGHTBOX_{name.upper()}": str(value.absolute()) for name, value in settings if isinstance(value, Path)}
    home = environment.get("BENTOML_HOME")
    if home is not None and "${" not in home:  # which BentoML expands
        paths["BENTOML_HOME"] = str(Path(home).expanduser().absolute())
    scheme, separator, file = settings.resolved_journal_url.partition(":///")
    if settings.journal_url and scheme.startswith("sqlite") and not file.startswith("/"):
        paths["LIGHTBOX_JOURNAL_URL"] = f"{scheme}{separator}{Path(file).absolute()}"
    return paths
