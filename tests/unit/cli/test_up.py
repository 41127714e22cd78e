import io
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bento_service.cli.app import app
from bento_service.cli.errors import CommandError
from bento_service.cli.serve import dashboard_command, service_command
from bento_service.cli.up import children_of, up
from bento_service.settings import Settings


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, arguments, env=environment)


@pytest.mark.parametrize(("option", "other"), [("--port", "--dashboard-port"), ("--dashboard-port", "--port")])
def test_up_says_which_port_is_taken_and_how_to_choose_another(
    taken_port: int, free_port: int, option: str, other: str, tmp_path: Path
) -> None:
    result = run("up", option, str(taken_port), other, str(free_port), LIGHTBOX_DATA_DIR=str(tmp_path))

    assert result.exit_code == 1
    assert result.stderr.startswith(f"lightbox: port {taken_port} on 127.0.0.1 is taken by another process")
    variable = option.removeprefix("--").replace("-", "_").upper()
    assert f"{option} {taken_port + 1}, or `make up {variable}={taken_port + 1}`" in result.stderr


@pytest.mark.parametrize("dashboard_host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - the text of a setting
def test_up_refuses_one_port_for_both(dashboard_host: str) -> None:
    result = run("up", "--port", "3000", "--dashboard-port", "3000", LIGHTBOX_DASHBOARD_HOST=dashboard_host)

    assert result.exit_code == 2
    assert "service and dashboard cannot both listen on port 3000" in result.stderr


def test_a_second_up_on_one_data_folder_names_the_first(free_ports: tuple[int, int], tmp_path: Path) -> None:
    port, dashboard_port = free_ports
    settings = Settings(port=port, dashboard_port=dashboard_port, data_dir=tmp_path, models=("timm/not_prepared",))
    said: list[str] = []

    def prepare(names: Sequence[str]) -> None:
        # The first is at this step.
        (tmp_path / "logs" / "service.log").write_text("of the first")
        second = run("up", "--port", str(port + 1), LIGHTBOX_DATA_DIR=str(tmp_path))
        assert second.exit_code == 1
        said.append(second.stderr)
        raise CommandError("enough")

    for _ in range(2):  # the lock goes with the process that holds it
        with pytest.raises(CommandError, match="enough"):
            up(settings, io.StringIO(), prepare=prepare)

    first = f"process {os.getpid()}: http://127.0.0.1:{port}, http://127.0.0.1:{dashboard_port}"
    expected = f"lightbox: another `lightbox up` ({first}) uses {tmp_path}; stop it, or choose another folder with "
    assert said == [f"{expected}LIGHTBOX_DATA_DIR\n"] * 2
    assert (tmp_path / "logs" / "service.log").read_text() == "of the first"


def test_up_says_where_it_cannot_keep_logs(free_ports: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(port=free_ports[0], dashboard_port=free_ports[1], data_dir=tmp_path / "file" / "data")

    with pytest.raises(CommandError, match=r"cannot keep logs in .*file/data/logs: Not a directory; choose another"):
        up(settings, io.StringIO(), prepare=lambda names: None)


def test_up_waits_for_each_childs_own_health_check(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    service, dashboard = children_of(settings, "http://127.0.0.1:3000", "http://127.0.0.1:8501")

    assert service.command == service_command(settings, os.environ)
    assert service.ready_url == "http://127.0.0.1:3000/readyz"
    assert dashboard.command == dashboard_command(settings, "http://127.0.0.1:3000", os.environ)
    assert dashboard.ready_url == "http://127.0.0.1:8501/_stcore/health"
    assert service.log.parent == tmp_path / "logs"
