"""The heads of served models, read from their files when they are first explained."""

import asyncio
import logging

from bento_service.domain.models import ModelCard
from bento_service.errors import ModelLoadError
from bento_service.models.class_head import ClassHead, read_class_head
from bento_service.models.store import BentoModelStore

logger = logging.getLogger(__name__)


class ClassHeads:
    """Reads the head of each served version once, in a thread. Used on one event loop."""

    def __init__(self, store: BentoModelStore) -> None:
        self._store = store
        self._heads: dict[str, asyncio.Task[ClassHead | None]] = {}

    async def find(self, card: ModelCard) -> ClassHead | None:
        """Return a version's head; None where its graph has none that explains a class, or cannot be read any more."""
        task = self._heads.get(card.key)
        if task is None:
            task = self._heads[card.key] = asyncio.create_task(asyncio.to_thread(self._read, card))
        # Others wait for it too: a request that is cancelled must not end it.
        return await asyncio.shield(task)

    def keep_only(self, keys: set[str]) -> None:
        """Forget the heads of versions that are served no more."""
        self._heads = {key: task for key, task in self._heads.items() if key in keys}

    def _read(self, card: ModelCard) -> ClassHead | None:
        try:
            return read_class_head(self._store.load(card.name, card.version).onnx_path)
        # A model that was removed while it is served; or an installation without the package `onnx`.
        except (ModelLoadError, ImportError) as error:
            logger.warning("The head of %s cannot be read, so it is explained by occlusion: %s", card.key, error)
            return None
