"""`lightbox models load`, `promote` and the others that change what a running service serves."""

import sys
from collections.abc import Callable
from typing import Annotated, TextIO

import typer

from bento_service.cli.errors import CommandError, explained_errors
from bento_service.cli.output import new_table, plain_console
from bento_service.domain.model_names import ModelReference
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
    _change(url, lambda client: client.load_model(model), lambda now: _find_loaded(model, now), wait=wait)


def unload(model: _Model, url: _Url = DEFAULT_URL, wait: _Wait = True) -> None:
    """Unload a version, once its last request is answered; or a whole model.

    The version that answers to the bare name is not unloaded: promote another one first.
    """
    _change(url, lambda client: client.unload_model(model), lambda now: _find_obstacle(model, now), wait=wait)


def promote(model: _Model, url: _Url = DEFAULT_URL, wait: _Wait = True) -> None:
    """Let a version answer to the bare name, loading it first.

    Without a version, the challenger if there is one, else the one that was stored last. Canary and shadow end.
    """
    _change(url, lambda client: client.promote_model(model), _find_champion, wait=wait)


def rollback(name: _Name, url: _Url = DEFAULT_URL, wait: _Wait = True) -> None:
    """Let the former champion answer to the bare name again.

    Canary and shadow end. The version that is rolled back stays loaded.
    """
    _change(url, lambda client: client.roll_back_model(name), _find_champion, wait=wait)


def shadow(model: _Model, share: _Share, url: _Url = DEFAULT_URL, wait: _Wait = True) -> None:
    """Run a share of the images on a version too, and compare its answers with the champion's.

    Clients never get its answers, and never wait for it.
    """
    _change(
        url,
        lambda client: client.set_shadow(model, share),
        lambda now: now.shadow.version if now.shadow else None,
        wait=wait,
    )


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
    _change(
        url,
        lambda client: client.set_canary(model, share, header=header),
        lambda now: now.canary.version if now.canary else None,
        wait=wait,
    )


def _change(
    url: str,
    change: Callable[[Client], ModelVersions],
    find_version: Callable[[ModelVersions], str | None],
    *,
    wait: bool,
) -> None:
    """Make a change and print the state; exit with 1 if the version that it is about has failed.

    Another version that failed before stays FAILED until it is unloaded, and does not make this change one.
    """
    with explained_errors(), Client(url) as client:
        versions = change(client)
        if wait:
            versions = client.wait_until_done(versions.name)
        write_versions(versions, sys.stdout)
        failed = {one.version: one.reason for one in versions.versions if one.state == "FAILED"}
        wanted = find_version(versions)
        if wanted in failed:
            raise CommandError(
                f"{versions.name}:{wanted} could not be loaded; what served before goes on: {failed[wanted]}"
            )
        for version, reason in failed.items():
            typer.echo(f"{versions.name}:{version} is FAILED since an earlier change: {reason}", err=True)


def _find_champion(versions: ModelVersions) -> str | None:
    return versions.aliases.get("champion")


def _find_obstacle(model: str, versions: ModelVersions) -> str | None:
    """Return the champion if the version to unload is still there: it answers in place of one that has failed."""
    reference = ModelReference.parse(model)
    held = (one.version for one in versions.versions if one.state == "READY")
    is_held = reference.version is not None and any(version.startswith(reference.version) for version in held)
    return _find_champion(versions) if is_held else None


def _find_loaded(model: str, versions: ModelVersions) -> str | None:
    """Return the version that a load was about."""
    reference = ModelReference.parse(model)
    if reference.alias:
        return versions.aliases.get(reference.alias)
    if reference.version:
        found = [one.version for one in versions.versions if one.version.startswith(reference.version)]
        return reference.version if reference.version in found else next(iter(found), None)
    return versions.changes[0].version if versions.changes else None


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
