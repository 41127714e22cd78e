"""A load that goes on while the process imports what else it needs."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from bento_service.loading.model_loader import FirstModels, ModelLoader


class BegunLoad:
    """A load of the first models, in a thread of its own, while this process imports what else it needs."""

    def __init__(self, loader: ModelLoader, names: Sequence[str]) -> None:
        """Begin."""
        self.loader = loader
        self._models: Future[FirstModels] = Future()
        # It runs from now on: a `wait` that is cancelled cannot cancel it.
        self._models.set_running_or_notify_cancel()
        threading.Thread(target=self._load, args=(names,), name="lightbox-load").start()

    async def wait(self) -> FirstModels:
        """Return the models once they are loaded, or raise as `ModelLoader.load_first`."""
        return await asyncio.wrap_future(self._models)

    def _load(self, names: Sequence[str]) -> None:
        try:
            models = self.loader.load_first(names)
        # `wait` raises it.
        except BaseException as error:  # noqa: BLE001
            self._models.set_exception(error)
        else:
            self._models.set_result(models)
