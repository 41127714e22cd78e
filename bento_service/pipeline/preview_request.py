"""One preview: an image's way without model, cache and receipt."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from bento_service.domain.models import ModelCard
from bento_service.domain.requests import Preview
from bento_service.images.header import read_header
from bento_service.images.preprocessing import draw_preview
from bento_service.pipeline.admission import Permit
from bento_service.pipeline.decode_pool import call_on_loop
from bento_service.pipeline.preprocessing import Preprocessor


class PreviewRequest:
    """One admitted preview; a context manager that holds its place. Used on the event loop, by one task."""

    def __init__(
        self,
        preprocessor: Preprocessor,
        permit: Permit,
        model: ModelCard,
        *,
        finish: Callable[[BaseException | None], None],
    ) -> None:
        """Describe the work.

        Args:
            preprocessor: Has the decode threads.
            permit: The preview's place.
            model: A preview counts as no more work than this model's image.
            finish: Called with the error that left the context, or None.
        """
        self._preprocessor = preprocessor
        self._permit = permit
        self._model = model
        self._finish = finish

    def __enter__(self) -> Self:
        """Take a place among the images that are being received."""
        self._permit.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the place."""
        self._permit.release()
        self._finish(error)

    async def draw(self, encoded: bytes) -> Preview:
        """Decode the image and draw it, in a decode thread.

        Raises:
            LightboxError: Any of the errors of admission and intake.
        """
        self._permit.check()
        header = read_header(encoded)
        self._permit.compute(self._preprocessor.estimate_ms(self._model, len(encoded), header))
        future: asyncio.Future[Preview] = asyncio.get_running_loop().create_future()

        def job() -> None:
            preview = draw_preview(encoded, self._preprocessor.limits, header=header)
            call_on_loop(future, lambda: future.set_result(preview))

        return await self._preprocessor.decode_pool.run(job, future, priority=self._permit.priority)
