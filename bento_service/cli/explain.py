"""`lightbox explain`: a file in, what speaks for a class out, as text, JSON or a picture."""

import asyncio
import codecs
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bento_service.cli.classification import FileFailedError, failing_alone
from bento_service.cli.classify import explained_writes
from bento_service.cli.errors import CommandError, ExitCode
from bento_service.cli.image_files import find_images
from bento_service.cli.output import require_writable
from bento_service.cli.plain_text import to_plain
from bento_service.domain.file_names import to_line
from lightbox_client import Client
from lightbox_client.contract import Explanation, MethodChoice
from lightbox_client.payload import read_payload

if TYPE_CHECKING:
    from bento_service.explain.explainer import Explainer

Explain: TypeAlias = Callable[[bytes], Explanation]
"""Explains an encoded image."""


def explain_file(
    argument: str, explain: Explain, *, method: MethodChoice, out: Path | None, opacity: float, as_json: bool
) -> None:
    """Explain the one file that an argument names, write the answer to stdout, and the picture to `out`.

    Raises:
        CommandError: There is no such file, it got no answer, or the picture cannot be written.
        LightboxError, LightboxClientError: What concerns every file.
    """
    path = _find_one(argument)
    if out is not None:
        require_writable([out])
    try:
        with failing_alone():
            encoded = read_payload(path).encoded
        explanation = explain(encoded)
    except FileFailedError as failure:
        raise CommandError(f"{to_line(path)}: {failure.message} ({failure.code})", ExitCode.BAD_INPUT) from failure
    if out is not None:
        _write(out, _draw(encoded, explanation, opacity))
    if as_json:
        is_ascii = codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8"
        text = explanation.model_dump_json(ensure_ascii=is_ascii) + "\n"
    else:
        text = describe(to_line(path), explanation, method)
        if out is not None:
            text += f"picture: {to_line(out)}\n"
    with explained_writes(sys.stdout):
        sys.stdout.write(text)
        sys.stdout.flush()


def by_service(client: Client, *, model: str | None, class_id: int | None, method: MethodChoice) -> Explain:
    """Explain by a running service."""

    def explain(encoded: bytes) -> Explanation:
        with failing_alone(client):
            return client.explain(encoded, model=model, class_id=class_id, method=method)

    return explain


def in_process(
    open_explainer: "Callable[[], AbstractAsyncContextManager[Explainer]]",
    *,
    model: str | None,
    class_id: int | None,
    method: MethodChoice,
) -> Explain:
    """Explain in this process; raises `LightboxError` where the explainer cannot be opened."""
    from bento_service.explain.explainer import Question  # noqa: PLC0415 - loads numpy and Pillow
    from bento_service.http.responses.serializers import to_explanation  # noqa: PLC0415 - loads Starlette

    question = Question(class_id, method)

    async def run(encoded: bytes) -> Explanation:
        async with open_explainer() as explainer:
            with (
                failing_alone(),
                explainer.open(
                    question, request_id=uuid.uuid4().hex, model=model, deadline_ms=None, started_s=time.perf_counter()
                ) as image,
            ):
                return to_explanation(await explainer.explain(image, encoded, question))

    return lambda encoded: asyncio.run(run(encoded))


def describe(name: str, explanation: Explanation, method: MethodChoice) -> str:
    """Return an explanation in some lines; `method` is the one that was asked for."""
    cell, image = explanation.strongest, explanation.image
    left, right = _clip(cell.left, cell.width, image.width)
    top, bottom = _clip(cell.top, cell.height, image.height)
    if explanation.method == "cam":
        how = "class activation map: what each part adds to the class, exactly"
    else:
        how = "occlusion: how far the score falls where a part is covered, an estimate"
        if method == "auto":
            how += f" ({explanation.model.name} has no class activation map)"
    across = (left + right) / 2 / image.width
    down = (top + bottom) / 2 / image.height
    return (
        f"{name}: {to_plain(explanation.label)} (class {explanation.class_id}), {explanation.score:.1%}, "
        f"by {explanation.model.name}\n"
        f"{how}\n"
        f"strongest at {across:.0%} of the width and {down:.0%} of the height: x {left:.0f} to {right:.0f}, "
        f"y {top:.0f} to {bottom:.0f} of {image.width} x {image.height} px\n"
    )


def _find_one(argument: str) -> Path:
    inputs = find_images([argument])
    if inputs.problems:
        raise CommandError(inputs.problems[0], ExitCode.BAD_INPUT)
    if len(inputs.paths) > 1:
        raise CommandError(
            f"{to_line(argument)} has {len(inputs.paths)} images; one is explained at a time", ExitCode.BAD_INPUT
        )
    return inputs.paths[0]


def _draw(encoded: bytes, explanation: Explanation, opacity: float) -> bytes:
    """Draw the picture here, from the answer: an image by occlusion runs 50 times, and not again for its picture."""
    import numpy as np  # noqa: PLC0415 - only a picture needs these

    from bento_service.domain.explanations import Box  # noqa: PLC0415
    from bento_service.explain.picture import draw_explanation  # noqa: PLC0415
    from bento_service.images.preprocessing import ImageLimits  # noqa: PLC0415

    image, box = explanation.image, explanation.box
    # What answered has read the image already, whatever its limits.
    limits = ImageLimits(len(encoded), image.width * image.height)
    grid = np.array(explanation.grid, np.float32)
    return draw_explanation(encoded, limits, grid, Box(box.left, box.top, box.width, box.height), opacity)


def _write(out: Path, png: bytes) -> None:
    try:
        out.write_bytes(png)
    except OSError as error:
        raise CommandError(f"cannot write {to_line(out)}: {error.strerror or error}", ExitCode.BAD_INPUT) from error


def _clip(start: float, length: float, side_px: int) -> tuple[float, float]:
    """Return where a side of a box begins and ends on the photograph."""
    return min(max(start, 0.0), side_px), max(min(start + length, side_px), 0.0)
