"""The `lightbox` command and its options; PyTorch, BentoML and OpenVINO are imported only where they are needed."""

import io
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from bento_service import __version__
from bento_service.cli.classification import by_service
from bento_service.cli.classify import Form, classify_files, require_images
from bento_service.cli.errors import explained_errors, read_settings
from bento_service.cli.evaluation.command import evaluate
from bento_service.cli.explain import by_service as ask_for_explanation
from bento_service.cli.explain import explain_file
from bento_service.cli.image_files import find_images
from bento_service.cli.models.commands import models_app
from bento_service.cli.options import Url, open_patient_client, refuse_local_and_url, strip
from bento_service.cli.serve import local_url, show_dashboard
from bento_service.cli.serve import serve as become_service
from bento_service.cli.up import up as run_both
from lightbox_client.client import DEFAULT_URL
from lightbox_client.contract import MethodChoice
from lightbox_client.variables import warn_of_unknown

FROM_SETTINGS = "from the settings"

app = typer.Typer(
    name="lightbox",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models_app, name="models")


Model = Annotated[str | None, typer.Option(metavar="NAME", help="Model to use.", show_default="the service's default")]
Host = Annotated[str | None, typer.Option(metavar="HOST", help="Address to listen on.", show_default=FROM_SETTINGS)]


def _port(text: str) -> Any:  # noqa: ANN401 - as typer's own
    return typer.Option(min=1, max=65_535, metavar="PORT", help=text, show_default=FROM_SETTINGS)


def main() -> None:
    """Run the command that was typed, and leave with its exit code."""
    _prepare_streams()
    app()


def _prepare_streams() -> None:
    """Let no output fail for its characters: what an encoding lacks becomes escapes. A closed stream takes anything."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for the whole process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"lightbox {__version__}")
        raise typer.Exit


@app.callback()
def lightbox(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Serve image classifiers, and classify images."""
    warn_of_unknown(os.environ, lambda warning: typer.echo(f"lightbox: warning: {warning}", err=True))


@app.command()
def classify(
    *,
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="Image files, folders (searched with all below them), or quoted patterns.",
        ),
    ],
    url: Url = DEFAULT_URL,
    local: Annotated[bool, typer.Option("--local", help="Classify in this process; no service is needed.")] = False,
    model: Model = None,
    top_k: Annotated[int, typer.Option(min=1, metavar="N", help="Predictions for each image.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON lines: one document a file.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV: a row a prediction, with a header.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="Files in flight at once.")] = 4,
) -> None:
    r"""Classify images.

    Answers go to stdout, in the order of the files. What went wrong goes to stderr, by file, and stops no other file.
    A folder is searched without hidden files, and links to folders in it are not followed. In a file's name, bytes that
    are not UTF-8 are shown as \xNN.

    Exit code: 0 if every input was answered, 2 if some input was not, 1 if the service cannot be reached.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    refuse_local_and_url(context, is_local=local)
    form = Form.JSON if as_json else Form.CSV if as_csv else Form.TABLE
    with explained_errors(), ExitStack() as stack:
        inputs = require_images(find_images(images))
        if local:
            from bento_service.cli.local import classify_locally  # noqa: PLC0415 - loads the engine's library

            source = classify_locally(model, top_k)
        else:
            client = stack.enter_context(open_patient_client(url))
            source = by_service(client, model=model, top_k=top_k, concurrency=concurrency)
        classify_files(inputs, source, form=form, output=output, concurrency=concurrency)


app.command()(evaluate)


@app.command()
def explain(
    *,
    context: typer.Context,
    image: Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="An image file.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write a picture with the map here, as PNG.")
    ] = None,
    url: Url = DEFAULT_URL,
    local: Annotated[bool, typer.Option("--local", help="Explain in this process; no service is needed.")] = False,
    model: Model = None,
    class_id: Annotated[
        int | None,
        typer.Option("--class", min=0, metavar="ID", help="The class to explain.", show_default="the best one"),
    ] = None,
    method: Annotated[
        MethodChoice, typer.Option(help="cam: a class activation map. occlusion: 49 further runs.")
    ] = "auto",
    opacity: Annotated[float, typer.Option(min=0, max=1, metavar="0-1", help="Of the map in the picture.")] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Write the answer as JSON.")] = False,
) -> None:
    """Show which part of an image speaks for a class.

    Models whose head is pooling and a linear layer have a class activation map: what each part adds to the class. Other
    models are explained by occlusion: how far the score falls where a part is covered, which is an estimate.

    Exit code: 0 if the image was explained, 2 if it could not be, 1 if the service cannot be reached.
    """
    refuse_local_and_url(context, is_local=local)
    with explained_errors(), ExitStack() as stack:
        if local:
            from bento_service.cli.local import explain_locally  # noqa: PLC0415 - loads the engine's library

            source = explain_locally(model, class_id, method)
        else:
            client = stack.enter_context(open_patient_client(url))
            source = ask_for_explanation(client, model=model, class_id=class_id, method=method)
        explain_file(image, source, method=method, out=out, opacity=opacity, as_json=as_json)


@app.command()
def bench(
    *,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Image files, folders (searched with all below them), or quoted patterns.",
            show_default="the dashboard's samples",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    model: Model = None,
    target_ms: Annotated[
        float | None, typer.Option(min=1, metavar="MS", help="Latency to keep at p99.", show_default="the service's")
    ] = None,
    duration_s: Annotated[
        float, typer.Option("--duration", min=2, max=3600, metavar="S", help="Seconds for all of it, about.")
    ] = 60,
    rates: Annotated[
        str | None,
        typer.Option(metavar="R,R,…", help="Offer these images/s instead.", show_default="search for the limit"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the arrivals and the draw of images.")] = 0,
    cache: Annotated[bool, typer.Option("--cache", help="Let the service's cache answer images that repeat.")] = False,
    yes_remote: Annotated[
        bool, typer.Option("--yes-remote", help="Load a service outside this machine and private networks.")
    ] = False,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.")] = None,
    html_path: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots here.")
    ] = None,
) -> None:
    """Measure what a running service can do with your images.

    Finds the most images a second at which 99 % are answered within the target, and says what limits it. Arrivals are
    random and do not wait for answers, as those of many clients; latency counts from when a request was due. Each image
    is sent with some bytes of its own after its end, so that no cache answers.

    Exit code: 0 if all was measured as asked, 2 if some input could not be read, 1 if the service cannot be reached.
    """
    from bento_service.cli import bench as load_test  # noqa: PLC0415 - numpy and uvloop, which help needs not

    with explained_errors():
        load_test.bench(
            images=images or (),
            url=url,
            model=model,
            target_ms=target_ms,
            duration_s=duration_s,
            rates=rates,
            seed=seed,
            uses_cache=cache,
            is_remote_allowed=yes_remote,
            json_path=json_path,
            html_path=html_path,
        )


@app.command()
def serve(
    host: Host = None,
    port: Annotated[int | None, _port("Port to listen on.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="Service processes.", show_default=FROM_SETTINGS)
    ] = None,
) -> None:
    """Run the service, after bringing in the models that are missing."""
    with explained_errors():
        become_service(read_settings(host=host, port=port, workers=workers))


@app.command()
def dashboard(
    host: Host = None,
    port: Annotated[int | None, _port("Port to listen on.")] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar="LIGHTBOX_URL", help="The service to show.", show_default="this machine's"),
    ] = None,
) -> None:
    """Run the dashboard."""
    with explained_errors():
        settings = read_settings(dashboard_host=host, dashboard_port=port)
        show_dashboard(settings, strip(url) or local_url(settings.host, settings.port))


@app.command()
def up(
    port: Annotated[int | None, _port("Port of the service.")] = None,
    dashboard_port: Annotated[int | None, _port("Port of the dashboard.")] = None,
) -> None:
    """Run service and dashboard together, until Ctrl-C."""
    with explained_errors():
        run_both(read_settings(port=port, dashboard_port=dashboard_port), sys.stdout)


if __name__ == "__main__":
    main()
