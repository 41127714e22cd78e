import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from typer.testing import CliRunner, Result

import bento_service
from bento_service.cli.app import app
from bento_service.cli.errors import CommandError, read_settings
from bento_service.cli.serve import (
    list_to_prepare,
    local_url,
    preflight,
    require_free_port,
    serve,
    service_command,
    show_dashboard,
)
from bento_service.errors import CacheUrlError, EngineUnavailableError, JournalUrlError, ModelLoadError
from bento_service.models.store import BentoModelStore
from bento_service.settings import BENTO_PATH, Settings
from lightbox_client.errors import InvalidAddressError


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, arguments, env=environment)


class Became(Exception):  # noqa: N818 - not an error: it stands for the process that exec never returns from
    def __init__(self, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
        super().__init__(argv)
        self.argv = argv
        self.env = env


def become(file: str, args: tuple[str, ...], env: Mapping[str, str], /) -> NoReturn:
    assert file == args[0]
    raise Became(args, env)


def test_a_port_in_use_is_taken_even_where_it_could_be_shared(free_port: int) -> None:
    require_free_port("127.0.0.1", free_port, "--port", "PORT")
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", free_port))
        server.listen()
        with pytest.raises(CommandError, match=f"port {free_port} on 127.0.0.1 is taken"):
            require_free_port("127.0.0.1", free_port, "--port", "PORT")


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_this_machines_is_unusable(host: str) -> None:
    with pytest.raises(CommandError, match=f"cannot listen on {host}:3000: "):
        require_free_port(host, 3000, "--port", "PORT")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        *((host, "http://127.0.0.1:80") for host in ("127.0.0.1", "0.0.0.0")),  # noqa: S104 - the text of a setting
        ("::", "http://[::1]:80"),
        ("box.example", "http://box.example:80"),
    ],
)
def test_a_wildcard_is_reached_by_loopback(host: str, url: str) -> None:
    assert local_url(host, 80) == url


def test_serve_prepares_the_models_then_becomes_bentoml(free_port: int) -> None:
    settings = Settings(port=free_port, workers=2, models=("timm/not_prepared",), drain_timeout_s=1.5)
    prepared: list[Sequence[str]] = []

    with pytest.raises(Became) as became:
        serve(settings, prepare=prepared.append, replace_process=become)

    assert prepared == [("timm/not_prepared",)]
    assert became.value.argv == (
        *(sys.executable, "-m", "bentoml", "serve", "bento_service.service:LightboxService"),
        *("--working-dir", str(Path(bento_service.__file__).parents[1])),
        *("--host", "127.0.0.1", "--port", str(free_port), "--timeout-graceful-shutdown", "2"),
    )
    assert became.value.env["LIGHTBOX_WORKERS"] == "2"
    assert became.value.env["LIGHTBOX_MODELS"] == "timm/not_prepared"
    assert became.value.env["PATH"] == os.environ["PATH"]


def test_in_a_container_the_service_is_the_rest_of_the_same_process(tmp_path: Path) -> None:
    (tmp_path / "module_to_be.py").write_text(
        "import os, sys\nprint(__name__, os.getpid(), sys.argv[1:], os.environ['CHOSEN'])\n"
    )
    script = (
        "import os, sys; from bento_service.cli.serve import run_as_module\n"
        "print(os.getpid(), flush=True)\n"
        "run_as_module(sys.executable, (sys.executable, '-m', 'module_to_be', 'serve', '--port'), {'CHOSEN': '1'})"
    )
    search = os.pathsep.join([str(tmp_path), str(Path.cwd())])

    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=True,
    )

    before, after = done.stdout.splitlines()
    assert after == f"__main__ {before} ['serve', '--port'] 1"


@pytest.mark.parametrize("environment", [{}, {"BENTO_PATH": ""}, {"BENTO_PATH": "/app/bento", "MALLOC_ARENA_MAX": "8"}])
def test_the_service_is_the_containers_bento_with_two_heaps_unless_told_otherwise(environment: dict[str, str]) -> None:
    command = service_command(Settings(), environment)

    served = environment.get("BENTO_PATH") or "bento_service.service:LightboxService"
    assert command.argv[1:5] == ("-m", "bentoml", "serve", served)
    assert command.env["MALLOC_ARENA_MAX"] == environment.get("MALLOC_ARENA_MAX", "2")
    assert {name: command.env[name] for name in environment} == environment


def test_the_service_reads_relative_paths_of_the_folder_it_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"LIGHTBOX_DATA_DIR": "data", "LIGHTBOX_JOURNAL_URL": "sqlite:///my.sqlite3", "BENTOML_HOME": "home"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    said = service_command(Settings(), given).env

    assert said["LIGHTBOX_DATA_DIR"] == str(tmp_path / "data")
    assert said["LIGHTBOX_JOURNAL_URL"] == f"sqlite:///{tmp_path / 'my.sqlite3'}"
    assert said["BENTOML_HOME"] == str(tmp_path / "home")
    monkeypatch.setenv("LIGHTBOX_JOURNAL_URL", "sqlite:////var/lib/lightbox/journal.sqlite3")
    assert "LIGHTBOX_JOURNAL_URL" not in service_command(Settings(), {}).env
    monkeypatch.setenv("HOME", "/home/me")
    assert service_command(Settings(), {"BENTOML_HOME": "~/models"}).env["BENTOML_HOME"] == "/home/me/models"
    assert service_command(Settings(), {"BENTOML_HOME": ""}).env["BENTOML_HOME"] == str(tmp_path)
    assert service_command(Settings(), {"BENTOML_HOME": "${HOME}/home"}).env["BENTOML_HOME"] == "${HOME}/home"


def test_a_container_leaves_its_models_to_the_bento(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTO_PATH", "/app/bento")

    with pytest.raises(Became) as became:
        serve(Settings(port=free_port), prepare=lambda names: pytest.fail("not here"), replace_process=become)

    assert "/app/bento" in became.value.argv


def test_a_taken_port_is_said_before_anything_is_prepared(taken_port: int) -> None:
    with pytest.raises(CommandError, match=rf"port {taken_port} .* is taken .* --port {taken_port + 1}, or `make up"):
        serve(Settings(port=taken_port), prepare=lambda names: pytest.fail("too early"), replace_process=become)
    with pytest.raises(CommandError, match="make up DASHBOARD_PORT="):
        show_dashboard(Settings(dashboard_port=taken_port), "http://box:3000", replace_process=become)


@pytest.mark.parametrize(
    ("environment", "exit_code", "message"),
    [
        # OpenVINO and CUDA exclude each other on every machine.
        ({"LIGHTBOX_ENGINE": "openvino", "LIGHTBOX_DEVICE": "cuda"}, 1, "The engine `openvino` runs on CPUs"),
        ({"LIGHTBOX_JOURNAL_URL": "mysql://box:s3cret@host"}, 2, "The journal's URL begins with 'mysql'. LIGHTBOX_J"),
        ({"LIGHTBOX_CACHE_URL": "memcached://box:s3cret@host"}, 2, "The cache's URL cannot be read. LIGHTBOX_CACHE_U"),
        ({"LIGHTBOX_PORT": "many"}, 2, "LIGHTBOX_PORT is 'many': input should be a valid integer"),
        ({"LIGHTBOX_WORKERS": "0"}, 2, "LIGHTBOX_WORKERS is '0': input should be greater than or equal to 1"),
        ({"LIGHTBOX_MODELS": ","}, 2, "LIGHTBOX_MODELS names nothing; name at least one. (Models to serve"),
        ({"LIGHTBOX_ENGINE": "tensorrt"}, 2, "LIGHTBOX_ENGINE is 'tensorrt': input should be 'auto', 'openvino', 'o"),
        ({"LIGHTBOX_DEFAULT_MODEL": "no"}, 2, "LIGHTBOX_DEFAULT_MODEL is 'no', which is not among LIGHTBOX"),
    ],
)
def test_wrong_settings_are_named_before_any_model_is_prepared(
    free_ports: tuple[int, int], tmp_path: Path, environment: dict[str, str], exit_code: int, message: str
) -> None:
    defaults = {
        "LIGHTBOX_MODELS": "no_such_model",
        "LIGHTBOX_DATA_DIR": str(tmp_path),
        "LIGHTBOX_PORT": str(free_ports[0]),
        "LIGHTBOX_DASHBOARD_PORT": str(free_ports[1]),
    }

    for command in ("serve", "up"):
        result = run(command, **defaults | environment)

        assert result.exit_code == exit_code
        assert result.stderr.startswith(f"lightbox: {message}")
        assert "s3cret" not in result.stderr


def test_the_dashboard_is_streamlit_on_its_script_with_the_services_url(free_port: int) -> None:
    with pytest.raises(Became) as became:
        show_dashboard(Settings(dashboard_port=free_port), "http://box:3000", replace_process=become)

    _, _, program, run, script, *options = became.value.argv
    assert (program, run) == ("streamlit", "run")
    assert Path(script).parts[-2:] == ("dashboard", "app.py")
    assert options[-2:] == ["--server.port", str(free_port)]
    assert became.value.env["LIGHTBOX_URL"] == "http://box:3000"


def test_a_dashboard_needs_an_address(free_port: int) -> None:
    with pytest.raises(InvalidAddressError, match="'box:3000' is no address of a service"):
        show_dashboard(Settings(dashboard_port=free_port), "box:3000", replace_process=become)


def test_a_journal_url_that_is_refused_is_not_shown() -> None:
    with pytest.raises(CommandError, match=r"LIGHTBOX_JOURNAL_URL is \(not shown\): input should be") as refusal:
        read_settings(journal_url=b"postgresql://lightbox:s3cret\xff@db/lightbox")

    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"device": "cuda"}, EngineUnavailableError),
        ({"journal_url": "mysql://db/lightbox"}, JournalUrlError),
        ({"cache_url": "http://cache"}, CacheUrlError),
        ({"model_control": "explicit", "host": "192.0.2.1"}, CommandError),
        ({"model_control": "explicit", "host": "192.0.2.1", "allow_anonymous": True}, None),
        ({"model_control": "explicit", "host": "localhost"}, None),
        ({}, None),
    ],
    ids=["engine", "journal", "cache", "strangers", "strangers allowed", "loopback", "fine"],
)
def test_preflight_refuses_settings_that_no_worker_can_use(
    changes: dict[str, object], error: type[Exception] | None, tmp_path: Path
) -> None:
    with pytest.raises(error) if error else nullcontext():
        preflight(Settings.model_validate({"data_dir": tmp_path, **changes}))


def test_an_imported_model_is_never_prepared_and_a_missing_one_ends_the_start(bentoml_home: Path) -> None:
    settings = Settings(models=("efficientnet_lite0", "pets:3f09"))

    with pytest.raises(ModelLoadError, match="Import it with `lightbox models import SOURCE --name pets`"):
        list_to_prepare(settings, lambda _: False)
    explicit = settings.model_copy(update={"model_control": "explicit"})
    assert list_to_prepare(explicit, lambda _: False) == ()


def test_a_start_renews_a_bundled_model_of_an_earlier_release_but_in_a_container(
    bentoml_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = BentoModelStore().load("efficientnet_lite0")
    earlier = replace(stored.card, version="earlier")
    BentoModelStore(tmp_path).save(earlier, write_model=lambda path, _: path.touch(), measure=lambda _: {})
    settings = Settings(models=("efficientnet_lite0",), model_store=tmp_path)

    assert list_to_prepare(settings, lambda _: False) == ("efficientnet_lite0",)
    monkeypatch.setenv(BENTO_PATH, "/home/bentoml/bento")
    assert list_to_prepare(settings, lambda _: False) == ()


def test_a_start_prepares_torch_programs_only_where_pytorch_will_run_them(bentoml_home: Path) -> None:
    settings = Settings(models=("efficientnet_lite0", "timm/not_prepared"))

    assert list_to_prepare(settings, lambda _: False) == ("timm/not_prepared",)
    assert list_to_prepare(settings, lambda _: True)[0] == "--torch-program"
    assert list_to_prepare(settings, lambda _: True)[-1] == "timm/not_prepared"
