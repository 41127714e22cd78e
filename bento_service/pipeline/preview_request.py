"""One admitted preview."""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from bento_service.domain.requests import Preview
from bento_service.images.header import read_header
from bento_service.images.preprocessing import draw_preview
from bento_service.pipeline.admission import Permit
from bento_service.pipeline.computation import Runner
from bento_service.pipeline.model_table import ModelTable
from bento_service.pipeline.served_models import ServedModels


@dataclass(eq=False)
class PreviewRequest:
    """One admitted preview; a context manager that holds its place. Used on the event loop, by one task.

    It counts as the work of an image for the first of `models`, which `table` keeps open. `finish` is called with the
    error that left the context, or None.
    """

    table: ModelTable
    models: ServedModels
    runner: Runner
    permit: Permit
    finish: Callable[[BaseException | None], None]

    def __enter__(self) -> Self:
        """Take a place among the images that are being received."""
        self.table.take(self.models)
        self.permit.start_receiving()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the place."""
        self.permit.release()
        self.table.release(self.models)
        self.finish(error)

    async def draw(self, encoded: bytes) -> Preview:
        """Decode the image and draw it, in a decode thread.

        Raises:
            UnknownModelError: No model is served.
            LightboxError: Any of the errors of admission and intake.
        """
        self.permit.check_again()
        header = read_header(encoded)
        champions = self.models.champions
        served = champions[0] if champions else self.models.find(None)
        self.permit.start_computing(self.runner.estimator.estimate_ms(served.card.key, len(encoded), header))
        return await self.runner.decode_pool.call(
            lambda: draw_preview(encoded, self.runner.limits), priority=self.permit.priority
        )
