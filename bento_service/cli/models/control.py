"""`lightbox models load`, `promote` and the others that change what a running service serves."""

import sys
from collections.abc import Callable
from typing import Annotated, TextIO

import typer

from bento_service.cli.errors import CommandError, explained_errors
from bento_service.cli.output import new_table, plain_console
from lightbox_client import Client
from lightbox_client.client import DEFAULT_URL
from lightbox_client.contract import ModelVersions, VersionState

_Model = Annotated[
    str, typer.Argument(metavar="NAME[:VERSION]", help="A model, or one version of it; NAME@ALIAS works too.")
]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="A model.")]
_Url = Annotated[str, typer.Option(metavar="URL", envvar="LIGHTBOX_URL", help="The service to change.")]
_Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until all workers have it.")]
_Share = Annotated[float, typer.Option(min=0, max=1, metavar="SHARE", help="From 0 to 1; 0 ends it.")]


def load(model: _Model, url: _Url = DEFAULT_URL, wait: _Wait = True) -> None:
    """Load a version beside those that serve.

    Without a version, the one that was stored last. The first version of a model answers to its name.
    """
    _change(url, model, lambda client: client.load_model(model), wait=wait)


def unload(model: _Model, url: _Url = DEFAULT_URL, wait: _Wait = True) -> None:
    """Unload a version, once its last request is answered; or a whole model.

    The version that answers to the bare name is not unloaded: promote another one first.
    """
    _change(url, model, lambda client: client.unload_model(model), wait=wait)


def promote(model: _Model, url: _Url = DEFAULT_URL, wait: _Wait = True) -> None:
    """Let a version answer to the bare name, loading it first.

    Without a version, the challenger if there is one, else the one that was stored last. Canary and shadow end.
    """
    _change(url, model, lambda client: client.promote_model(model), wait=wait)


def rollback(name: _Name, url: _Url = DEFAULT_URL, wait: _Wait = True) -> None:
    """Let the former champion answer to the bare name again.

    Canary and shadow end. The version that is rolled back stays loaded.
    """
    _change(url, name, lambda client: client.roll_back_model(name), wait=wait)


def shadow(model: _Model, share: _Share, url: _Url = DEFAULT_URL, wait: _Wait = True) -> None:
    """Run a share of the images on a version too, and compare its answers with the champion's.

    Clients never get its answers, and never wait for it.
    """
    _change(url, model, lambda client: client.set_shadow(model, share), wait=wait)


def canary(
    model: _Model,
    share: _Share,
    header: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Choose by this header, so that a user keeps a version.", show_default="image"
        ),
    ] = None,
    url: _Url = DEFAULT_URL,
    wait: _Wait = True,
) -> None:
    """Let a version answer a share of the requests for the bare name."""
    _change(url, model, lambda client: client.set_canary(model, share, header=header), wait=wait)


def _change(url: str, model: str, change: Callable[[Client], ModelVersions], *, wait: bool) -> None:
    with explained_errors(), Client(url) as client:
        versions = change(client)
        if wait:
            versions = client.wait_until_done(versions.name)
        write_versions(versions, sys.stdout)
        if versions.state == "FAILED":
            reasons = "; ".join(one.reason for one in versions.versions if one.state == "FAILED")
            raise CommandError(f"{model} could not be loaded; what served before goes on: {reasons}")


def write_versions(versions: ModelVersions, stream: TextIO) -> None:
    """Write the state of a model, and a line for each version that is loaded or to be loaded."""
    stream.write(
        f"{versions.name}: {versions.state}, revision {versions.revision}, "
        f"{versions.workers_done} of {versions.workers} workers done\n"
    )
    table = new_table()
    for heading in ("version", "state", "aliases", "traffic", "memory"):
        table.add_column(heading, no_wrap=True)
    for one in versions.versions:
        if one.state != "STORED":
            memory = "" if one.memory_bytes is None else f"{one.memory_bytes / 1e6:.0f} MB"
            table.add_row(one.version, one.state, ", ".join(one.aliases), _describe_traffic(versions, one), memory)
    if table.row_count:
        plain_console(stream).print(table)


def _describe_traffic(versions: ModelVersions, one: VersionState) -> str:
    found = []
    if versions.canary and versions.canary.version == one.version:
        found.append(f"canary {versions.canary.share:.0%}")
    if (shadow := versions.shadow) and shadow.version == one.version:
        agreement = "" if shadow.same_class is None else f", same class in {shadow.same_class:.1%} of {shadow.compared}"
        found.append(f"shadow {shadow.share:.0%}{agreement}")
    return ", ".join(found)
