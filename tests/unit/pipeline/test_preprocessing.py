"""What an image is expected to cost before anything of it is done."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable

import pytest
from PIL import Image

from bento_service.domain.models import ModelCard
from bento_service.domain.requests import ImageInfo
from bento_service.images.header import read_header
from bento_service.images.preprocessing import ImageLimits
from bento_service.pipeline.decode_pool import DecodePool
from bento_service.pipeline.preprocessing import Preprocessor
from bento_service.pipeline.work_estimate import WorkEstimator
from bento_service.scheduling.scheduler import Scheduler
from tests.fakes.engine import FakeEngine, FakeInfer, make_model
from tests.fakes.pipeline import RECIPE
from tests.unit.images.encodings import RECORDED
from tests.unit.images.heif_files import put_together, take_apart

pytestmark = pytest.mark.anyio

CARD = ModelCard("a", "v-a", ("cat", "dog"), RECIPE, "bundled", "MIT")
SIDE_PX = 2000
MAX_PIXELS = SIDE_PX * SIDE_PX


@pytest.fixture
async def preprocessor() -> AsyncIterator[Preprocessor]:
    scheduler = Scheduler(
        {"a": make_model(FakeEngine(FakeInfer()).infer, ceiling=4)},
        lanes=1,
        target_ms=1000,
        clock=time.perf_counter,
        loop=asyncio.get_running_loop(),
    )
    pool = DecodePool(1)
    estimator = WorkEstimator({"a": 0.0}, decode_threads=1, lanes=1, shares_cores=True)
    yield Preprocessor(pool, scheduler.queue, estimator, ImageLimits(10**7, MAX_PIXELS), None, time.perf_counter)
    pool.close()
    await asyncio.to_thread(scheduler.close, timeout_s=5)


def estimate_ms(preprocessor: Preprocessor, encoded: bytes) -> float:
    return preprocessor.estimate_ms(CARD, len(encoded), read_header(encoded))


def encode(image_format: str, *, side_px: int = SIDE_PX, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side_px, side_px), (90, 120, 30)).save(file, image_format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("encode_large", "at_least_ms"),
    [
        (lambda: encode("WEBP"), 30),
        (lambda: encode("PNG"), 30),
        (lambda: encode("JPEG", progressive=True), 40),
        (lambda: encode("TIFF", compression="tiff_lzw"), 10),
        (lambda: encode("AVIF", speed=10), 25),
        (
            lambda: put_together(
                b"heic", [take_apart((RECORDED / "colour_8.heic").read_bytes()).size(SIDE_PX, SIDE_PX)]
            ),
            100,
        ),
    ],
    ids=["WebP", "PNG", "progressive JPEG", "TIFF", "AVIF", "HEIC"],
)
async def test_a_small_file_with_many_pixels_is_expected_to_take_long(
    preprocessor: Preprocessor, encode_large: Callable[[], bytes], at_least_ms: float
) -> None:
    encoded = encode_large()
    assert len(encoded) < 200_000
    assert estimate_ms(preprocessor, encoded) > at_least_ms


async def test_a_file_that_will_be_refused_for_its_pixels_is_expected_to_take_no_time_for_them(
    preprocessor: Preprocessor,
) -> None:
    assert estimate_ms(preprocessor, encode("PNG", side_px=SIDE_PX + 1)) < 2


async def test_a_size_that_cannot_be_told_counts_as_the_largest_that_is_allowed(preprocessor: Preprocessor) -> None:
    encoded = encode("JPEG", side_px=8)
    hidden = encoded[:2] + b"\xff\xfe\0\x02" * 1000 + encoded[2:]
    assert estimate_ms(preprocessor, hidden) == estimate_ms(preprocessor, encode("JPEG"))


async def test_bytes_that_are_no_image_are_estimated_at_almost_no_work(preprocessor: Preprocessor) -> None:
    assert estimate_ms(preprocessor, b"hello") < 1


async def test_heic_decoding_times_are_not_learnt_since_another_thread_decodes(
    preprocessor: Preprocessor,
) -> None:
    encoded = (RECORDED / "colour_8.heic").read_bytes()
    expected_ms = estimate_ms(preprocessor, encoded)
    preprocessor.learn_decode(len(encoded), read_header(encoded), ImageInfo("HEIC", 48, 41), decode_ms=0.01)
    assert estimate_ms(preprocessor, encoded) == expected_ms


async def test_what_decoding_took_is_learnt_with_the_pixels_that_there_were(preprocessor: Preprocessor) -> None:
    encoded = encode("PNG")
    for _ in range(100):
        preprocessor.learn_decode(len(encoded), read_header(encoded), ImageInfo("PNG", SIDE_PX, SIDE_PX), decode_ms=80)
    assert estimate_ms(preprocessor, encoded) == pytest.approx(80, rel=0.05)
