"""What can be typed after `lightbox models`; each command imports late what it needs."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bento_service.cli.errors import explained_errors, read_settings
from bento_service.cli.models import control, stored
from bento_service.cli.models.importing import (
    check_name,
    follow_import,
    locate,
    open_import_store,
    state,
)
from bento_service.cli.models.listing import list_prepared, list_served, write_rows
from bento_service.cli.models.preparing import open_store, prepare, verify
from bento_service.domain.models import Channels, Interpolation
from bento_service.preparation.presets import Preset
from lightbox_client import Client

StoredName = Annotated[
    str, typer.Argument(metavar="NAME[:VERSION]", help="A stored model; a version's first characters will do.")
]

models_app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)


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
        from bento_service.preparation.prepare import prepare_missing

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
    is not installed or the model was imported, over 200 crops of photographs.

    Exit code: 0 if all pass the parity gate, 2 if one fails it, 1 if it cannot be measured.
    """
    with explained_errors():
        from bento_service.preparation import verification

        models = map(open_store().load, names or read_settings().models)
        verify(models, verification.verify, sys.stdout)


@models_app.command("import")
def import_model(
    *,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file or folder, or the tag of a BentoML model.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="The name that it is to have here.")],
    labels: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Labels in the order of the classes, one a line; or `imagenet`."),
    ] = None,
    recipe: Annotated[
        Preset | None, typer.Option(help="A usual normalisation, with the crop that usually goes with it.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Of the input, in pixels.")] = None,
    fit: Annotated[
        Literal["crop", "squash", "letterbox"] | None, typer.Option(help="How an image is brought to that size.")
    ] = None,
    crop_fraction: Annotated[
        float | None, typer.Option(min=0.05, max=1, metavar="F", help="Share of the short side that a crop keeps.")
    ] = None,
    interpolation: Annotated[Interpolation | None, typer.Option(help="Of the resizing.")] = None,
    antialias: Annotated[
        bool | None,
        typer.Option(
            "--antialias/--no-antialias",
            help="Whether resizing smooths what it reduces, as Pillow does; --no-antialias resizes as OpenCV does.",
            show_default="--antialias, where no file says otherwise",
        ),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Of pixels in 0-1, in the order of --channels.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Of pixels in 0-1, in the order of --channels.")
    ] = None,
    channels: Annotated[Channels | None, typer.Option(help="Order of the channels that the model takes.")] = None,
    pad_value: Annotated[
        int | None, typer.Option(min=0, max=255, metavar="N", help="Grey around a letterboxed image.")
    ] = None,
    activation: Annotated[
        Literal["softmax", "sigmoid", "none"] | None,
        typer.Option(help="What makes scores of the outputs; `none` if the model returns probabilities."),
    ] = None,
    licence: Annotated[str | None, typer.Option(metavar="ID", help="Of the weights, such as Apache-2.0.")] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Labelled photographs, a subfolder a class: try the usual recipes and show which is right.",
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="ARCH", help="Of weights alone: timm/NAME, torchvision/NAME, or Sequential(Conv2d(…), …)."
        ),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The f32 original of a quantised ONNX file, to compare with.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="TENSOR", help="The output with the scores, if the graph has several.")
    ] = None,
    layout: Annotated[
        Literal["NCHW", "NHWC"] | None, typer.Option(help="Of the input, if its shape leaves it open.")
    ] = None,
    allow_any_operator: Annotated[
        bool, typer.Option("--allow-any-operator", help="Accept loops and operators outside ONNX's own.")
    ] = False,
    allow_inexact: Annotated[
        bool, typer.Option("--allow-inexact", help="Store the model even if it fails the parity gate.")
    ] = False,
) -> None:
    """Import a model of your own: find out what it needs, check that it answers, measure it, and store it.

    SOURCE is an ONNX file or a folder with one, a timm or Hugging Face folder, MLflow's or Triton's folder, a state
    dict or safetensors with --arch, Lightbox's export, or the tag of a BentoML model. Labels, input recipe and
    activation are read from it; what it does not say is asked for, never guessed. A flag wins over what was read.

    Exit code: 0 if it is stored, 2 if facts are missing or wrong, 1 if it cannot be imported.
    """
    flags: dict[str, Any] = {
        "labels": labels,
        "size": size,
        "fit": fit,
        "crop_fraction": crop_fraction,
        "interpolation": interpolation,
        "antialias": antialias,
        "mean": mean,
        "std": std,
        "channels": channels,
        "pad_value": pad_value,
        "activation": activation,
        "licence": licence,
    }
    with explained_errors():
        check_name(name)
        from bento_service.preparation.inspection import GraphHints
        from bento_service.preparation.model_import import ImportRequest

        stated = state(flags)
        request = ImportRequest(
            name=name,
            source=locate(source, open_store(), has_arch=arch is not None),
            stated=stated,
            preset=recipe,
            arch=arch,
            hints=GraphHints(output=output, layout=layout, allow_any_operator=allow_any_operator),
            check=check,
            reference=reference,
            allow_inexact=allow_inexact,
        )
        follow_import(request, open_import_store(), sys.stderr)


@models_app.command("list")
def list_models() -> None:
    """List what is in the model store: each version, newest first."""
    with explained_errors():
        stored.write_stored(open_store(), sys.stdout)


@models_app.command("show")
def show_model(
    name: StoredName,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON document.")] = False,
) -> None:
    """Show all that is known of a stored model, and where each fact was found."""
    with explained_errors():
        model = open_store().load(name)
        if as_json:
            sys.stdout.write(stored.to_json(model) + "\n")
        else:
            stored.write_card(model, sys.stdout)


@models_app.command("labels")
def write_labels(name: StoredName) -> None:
    """Write a model's labels, one a line, in the order of the classes: what `--labels` reads."""
    with explained_errors():
        sys.stdout.writelines(f"{label}\n" for label in open_store().load(name).card.labels)


@models_app.command("export")
def export_stored(
    name: StoredName,
    target: Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER", help="FILE.onnx, or a folder.")],
) -> None:
    """Write a model as ONNX, with labels and recipe in its metadata, and its card.

    Other tools can run the file; `lightbox models import` makes the same version of it.
    """
    with explained_errors():
        from bento_service.preparation.model_export import export_model

        onnx_path, card_path = export_model(open_store().load(name), target)
        sys.stdout.write(f"{onnx_path}\n{card_path}\n")


@models_app.command("remove")
def remove_model(
    name: StoredName,
    every: Annotated[bool, typer.Option("--all", help="Remove all versions of the name.")] = False,
) -> None:
    """Remove a version of a model from the store; a service that has loaded it goes on."""
    with explained_errors():
        stored.remove(open_store(), name, sys.stdout, every=every)


for command in (control.load, control.unload, control.promote, control.rollback, control.shadow, control.canary):
    models_app.command()(command)
