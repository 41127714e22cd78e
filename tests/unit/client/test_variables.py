import os
import re

import pytest
from typer.testing import CliRunner

from bento_service.cli.app import app
from bento_service.settings import Settings
from dashboard.settings import DashboardSettings
from lightbox_client.variables import (
    DASHBOARD_NAMES,
    DEPLOYMENT_NAMES,
    INTERNAL_NAMES,
    SERVICE_NAMES,
    describe_unknown,
    warn_of_unknown,
)
from tests.unit.deploy.compose_files import EXAMPLE, ROOT, SWARM


def warned_of(*names: str) -> list[str]:
    return describe_unknown(dict.fromkeys(names, "s3cret"))


def test_every_setting_is_known() -> None:
    assert {name.upper() for name in Settings.model_fields} - SERVICE_NAMES == set()
    assert {name.upper() for name in DashboardSettings.model_fields} - DASHBOARD_NAMES == set()


def test_every_variable_of_the_deployment_is_known() -> None:
    texts = [path.read_text() for path in (EXAMPLE, SWARM, ROOT / "deploy" / "swarm" / "deploy")]
    named = re.findall(r"LIGHTBOX_(\w+)", "".join(texts))

    assert set(named) - SERVICE_NAMES - DASHBOARD_NAMES - INTERNAL_NAMES == DEPLOYMENT_NAMES


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("LIGHTBOX_MODEL", " Did you mean LIGHTBOX_MODELS?"),
        ("LIGHTBOX_TARGET_MS", " Did you mean LIGHTBOX_TARGET_P99_MS?"),
        ("LIGHTBOX_PUBLIC_ULR", " Did you mean LIGHTBOX_PUBLIC_URL?"),
        ("lightbox_prot", " Did you mean LIGHTBOX_PORT?"),
        ("LIGHTBOX_DASHBORD_PORT", " Did you mean LIGHTBOX_DASHBOARD_PORT?"),
        ("LIGHTBOX_FOO", ""),
    ],
)
def test_an_unknown_name_is_warned_of_with_the_nearest_known_one(name: str, advice: str) -> None:
    assert warned_of(name) == [f"{name} has no effect: Lightbox reads no variable of that name.{advice}"]


def test_names_of_others_are_not_warned_of() -> None:
    assert warned_of("PATH", "LIGHTBOX", "MY_LIGHTBOX_PROT", "LIGHTBOXES", "lightbox_port") == []
    assert warned_of("LIGHTBOX_API_SERVICE_HOST", "LIGHTBOX_SERVICE_PORT_HTTP", "LIGHTBOX_API_PORT_80_TCP_ADDR") == []
    assert describe_unknown({"LIGHTBOX_API_PORT": "tcp://10.0.0.1:3000"}) == []


def test_a_program_warns_once_and_what_it_starts_not_again() -> None:
    environment, warnings = {"LIGHTBOX_PROT": "1", "LIGHTBOX_HOTS": "2"}, list[str]()

    warn_of_unknown(environment, warnings.append)
    warn_of_unknown(dict(environment), warnings.append)

    assert [warning.split()[0] for warning in warnings] == ["LIGHTBOX_HOTS", "LIGHTBOX_PROT"]


def test_the_command_line_warns_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"LIGHTBOX_PROT": "1"})

    result = CliRunner().invoke(app, ["models", "--url", "nowhere"])

    assert result.stderr.startswith("lightbox: warning: LIGHTBOX_PROT has no effect: ")
