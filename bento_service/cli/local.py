"""What the commands run in this process, without a service (`--local`)."""

import os
from contextlib import AbstractAsyncContextManager

from bento_service.bootstrap import open_local, open_local_explainer
from bento_service.cli import classification, explain
from bento_service.cli.classification import Classify
from bento_service.cli.errors import read_settings
from bento_service.cli.explain import Explain
from bento_service.cli.models.preparing import open_store, prepare_in_subprocess
from bento_service.settings import BENTO_PATH, Settings
from lightbox_client.contract import MethodChoice

LOCAL_TARGET_MS = 60_000.0
"""Nobody else waits for a local run, so nothing is refused for load before the largest target there is."""


def classify_locally(model: str | None, top_k: int) -> AbstractAsyncContextManager[Classify]:
    """Return what classifies files by a stored model, which is prepared where it can be."""
    settings, name = prepare_local(model)
    return classification.in_process(lambda: open_local(settings, model=name), model=name, top_k=top_k)


def explain_locally(model: str | None, class_id: int | None, method: MethodChoice) -> Explain:
    """Return what explains an image by a stored model, which is prepared where it can be."""
    settings, name = prepare_local(model)
    return explain.in_process(
        lambda: open_local_explainer(settings, model=name), model=name, class_id=class_id, method=method
    )


def prepare_local(model: str | None) -> tuple[Settings, str]:
    """Return the settings of a local run and the name of its model, which is prepared where it can be."""
    settings = read_settings(target_p99_ms=LOCAL_TARGET_MS)
    name = model or settings.default_model_name
    stored = open_store().find(name)
    # One of an earlier Lightbox has no class activation map; a container lacks what makes it anew.
    is_renewed = stored is not None and stored.card.name == name and stored.is_outdated
    if stored is None or (is_renewed and not os.environ.get(BENTO_PATH)):
        prepare_in_subprocess([name])
    return settings, name
