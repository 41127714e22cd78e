"""What can be typed after `lightbox evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from bento_service.cli.errors import explained_errors
from bento_service.cli.options import Url, open_patient_client, refuse_local_and_url
from lightbox_client.client import DEFAULT_URL


def evaluate(
    *,
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", show_default=False, help="`name`, `name:version` or `name@alias`.")
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", show_default=False, help="A subfolder for each class, named by its label or class id."
        ),
    ],
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="NAME", help="A model to compare with; may be given several times."),
    ] = None,
    url: Url = DEFAULT_URL,
    local: Annotated[
        bool, typer.Option("--local", help="Run the model in this process; no service is needed.")
    ] = False,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the figures here; `-` writes them to stdout.")
    ] = None,
    html_path: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots and pictures here.")
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="SHARE", help="Exit with 3 if MODEL's accuracy is lower, such as 0.95."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Take at most N photographs; each class has its share.")
    ] = None,
    labels_map: Annotated[
        Path | None,
        typer.Option(
            "--labels-map",
            metavar="FILE",
            help="For other names of subfolders: `subfolder label` (or a class id) a line.",
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=256, metavar="N", help="Photographs in flight at once.", show_default="by the CPUs"),
    ] = None,
) -> None:
    """Measure how well a model does on labelled photographs.

    Accuracy with its 95 % confidence interval, top 5, recall and precision of each class, what is confused with what,
    log loss, reliability, the worst mistakes and the pace; of several models also whether their difference may be
    chance. The running service does the work, after all that others ask of it. Spaces, underscores and case of a
    subfolder's name do not matter. A photograph without an answer is named, counted, and in no figure.

    Exit code: 0 if all was measured, 3 if the accuracy itself (not its interval) is below --min-accuracy, 2 if some
    photograph got no answer or something was named that does not exist, 1 if the service cannot be reached.
    """
    from bento_service.cli.evaluation import run  # noqa: PLC0415 - numpy and more, which help needs not

    refuse_local_and_url(context, is_local=local)
    models = [model, *(against or ())]
    with explained_errors():
        options = run.EvaluationOptions(
            folder=folder,
            labels_map=labels_map,
            limit=limit,
            min_accuracy=min_accuracy,
            json_file=json_file,
            html_path=html_path,
        )
        if local:
            run.evaluate_here(models, options, concurrency=concurrency)
        else:
            with open_patient_client(url) as client:
                run.evaluate_by_service(client, models, options, concurrency=concurrency)
