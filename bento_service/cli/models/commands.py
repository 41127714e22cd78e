"""What can be typed after `lightbox models`; each command imports late what it needs."""

import sys
from typing import Annotated

import typer

from bento_service.cli.errors import explained_errors, read_settings
from bento_service.cli.models import control
from bento_service.cli.models.listing import list_prepared, list_served, write_rows
from bento_service.cli.models.preparing import open_store, prepare, verify
from lightbox_client import Client

models_app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
for command in (control.load, control.unload, control.promote, control.rollback, control.shadow, control.canary):
    models_app.command()(command)


@models_app.callback()
def models(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask this service.", show_default="look on this machine")
    ] = None,
) -> None:
    """List the models of LIGHTBOX_MODELS, or of a service."""
    if context.invoked_subcommand is not None:
        return
    with explained_errors():
        if url is None:
            rows = list_prepared(open_store(), read_settings().models)
        else:
            with Client(url) as client:
                rows = list_served(client)
        write_rows(rows, sys.stdout)


@models_app.command("prepare")
def prepare_models(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Models to prepare.", show_default="those of LIGHTBOX_MODELS"),
    ] = None,
    torch_program: Annotated[
        bool, typer.Option("--torch-program", help="Also write what the PyTorch engine runs; takes the extra `torch`.")
    ] = False,
) -> None:
    """Bring in the models that are missing.

    Makes an ONNX file of their weights and keeps it in BentoML's model store.
    """
    with explained_errors():
        from bento_service.preparation.prepare import prepare_missing  # noqa: PLC0415 - help needs none of it

        store = open_store()
        prepare(
            lambda wanted, on_progress: prepare_missing(wanted, store, on_progress, with_program=torch_program),
            names or read_settings().models,
            sys.stderr,
        )


@models_app.command("verify")
def verify_models(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Models to verify.", show_default="those of LIGHTBOX_MODELS"),
    ] = None,
) -> None:
    """Measure how far the answers of prepared models are from a reference.

    Compares each installed CPU engine with PyTorch on timm's evaluation transform, or with ONNX Runtime where PyTorch
    is not installed, over 200 crops of photographs.

    Exit code: 0 if all pass the parity gate, 2 if one fails it, 1 if it cannot be measured.
    """
    with explained_errors():
        from bento_service.preparation import verification  # noqa: PLC0415 - help needs none of it

        models = map(open_store().load, names or read_settings().models)
        verify(models, verification.verify, sys.stdout)
