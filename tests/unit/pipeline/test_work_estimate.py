import io
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bento_service.domain.requests import ImageInfo
from bento_service.images.formats import ImageFormat
from bento_service.images.header import ImageHeader, read_header
from bento_service.pipeline.work_estimate import DecodeTimeModel, WorkEstimator
from tests.unit.images.encodings import RECORDED
from tests.unit.images.heif_files import put_together, take_apart

SMALL, LARGE = 48_000, 2_000_000
SIDE_PX = 2000
JPEG, PNG = ImageHeader(ImageFormat.JPEG, 0), ImageHeader(ImageFormat.PNG, 0)
LARGE_PNG = ImageHeader(ImageFormat.PNG, 50_000_000)


def make_estimator(
    *, inference_ms: float = 9.0, threads: int = 2, lanes: int = 2, shares_cores: bool = True, side_px: int = 8000
) -> WorkEstimator:
    return WorkEstimator(
        {"a": inference_ms}, decode_threads=threads, lanes=lanes, shares_cores=shares_cores, max_pixels=side_px**2
    )


def learn(estimator: WorkEstimator, encoded_bytes: int, header: ImageHeader, decode_ms: float) -> None:
    for _ in range(100):
        info = ImageInfo(header.format, header.pixels or 0, 1)
        estimator.learn_decode(encoded_bytes, header, info, decode_ms=decode_ms)


def estimate_decoding_ms(encoded: bytes) -> float:
    """Estimate an image's time on one thread, where 2000 x 2000 pixels are allowed."""
    estimator = make_estimator(inference_ms=0, threads=1, lanes=1, side_px=SIDE_PX)
    return estimator.estimate_ms("a", len(encoded), read_header(encoded))


def encode(image_format: str, *, side_px: int = SIDE_PX, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side_px, side_px), (90, 120, 30)).save(file, image_format, **options)
    return file.getvalue()


def encode_heic() -> bytes:
    return put_together(b"heic", [take_apart((RECORDED / "colour_8.heic").read_bytes()).size(SIDE_PX, SIDE_PX)])


def make_model() -> DecodeTimeModel:
    return DecodeTimeModel(1.6e-6)


def test_the_first_guess_is_twice_the_measured_decoding_time() -> None:
    decode = make_model()
    assert decode.predict_ms(SMALL) == pytest.approx(1.7, rel=0.05)
    assert decode.predict_ms(LARGE) == pytest.approx(55, rel=0.05)


def test_decoding_times_of_small_and_large_images_are_learnt() -> None:
    decode = make_model()
    for _ in range(300):
        decode.learn(SMALL, 4.0)
        decode.learn(LARGE, 20.0)
    assert decode.predict_ms(SMALL) == pytest.approx(4.0, rel=0.15)
    assert decode.predict_ms(LARGE) == pytest.approx(20.0, rel=0.25)


def test_small_images_alone_do_not_make_large_ones_cheap() -> None:
    decode = make_model()
    for number in range(1000):
        decode.learn(SMALL + number % 7, 1.2)
    assert decode.predict_ms(SMALL) == pytest.approx(1.2, rel=0.1)
    assert decode.predict_ms(LARGE) > 30


def test_one_very_slow_image_changes_little() -> None:
    decode = make_model()
    for _ in range(100):
        decode.learn(SMALL, 1.7)
    decode.learn(SMALL, 60_000)
    assert decode.predict_ms(SMALL) < 1.2 * 1.7


@given(images=st.lists(st.tuples(st.integers(0, 10**8), st.floats(0, 1e6)), max_size=100), size=st.integers(0, 10**8))
def test_predicted_times_are_positive_and_grow_with_size(images: list[tuple[int, float]], size: int) -> None:
    decode = make_model()
    for encoded_bytes, decode_ms in images:
        decode.learn(encoded_bytes, decode_ms)
    assert 0 < decode.predict_ms(size) < float("inf")
    assert decode.predict_ms(size) <= decode.predict_ms(2 * size)


def test_on_a_cpu_decoding_and_inference_add_up() -> None:
    assert make_estimator().estimate_ms("a", SMALL, JPEG) == pytest.approx((1.7 + 9.0) / 2, rel=0.02)


def test_beside_a_gpu_the_slower_of_the_two_counts() -> None:
    estimator = make_estimator(threads=4, lanes=1, shares_cores=False)
    assert estimator.estimate_ms("a", SMALL, JPEG) == pytest.approx(9.0)
    assert estimator.estimate_ms("a", LARGE, JPEG) == pytest.approx(55 / 4, rel=0.05)


def test_each_format_is_learnt_on_its_own() -> None:
    estimator = make_estimator()
    before_ms = estimator.estimate_ms("a", SMALL, JPEG)
    learn(estimator, SMALL, PNG, 40)
    assert estimator.estimate_ms("a", SMALL, JPEG) == before_ms
    assert estimator.estimate_ms("a", SMALL, PNG) > 2 * before_ms


def test_the_pixels_of_a_photograph_change_nothing_since_its_bytes_take_longer() -> None:
    photograph = ImageHeader(ImageFormat.JPEG, 190_000)
    assert make_estimator().estimate_ms("a", SMALL, photograph) == make_estimator().estimate_ms("a", SMALL, JPEG)


def test_the_time_for_a_pixel_is_learnt_apart_from_that_for_a_byte() -> None:
    estimator = make_estimator()
    by_bytes_ms = estimator.estimate_ms("a", SMALL, PNG)
    learn(estimator, 89_000, LARGE_PNG, 800)
    half = ImageHeader(ImageFormat.PNG, 25_000_000)
    assert estimator.estimate_ms("a", 89_000, half) == pytest.approx((400 + 9) / 2, rel=0.05)
    assert estimator.estimate_ms("a", SMALL, PNG) == by_bytes_ms


def test_cheap_pixels_do_not_make_costly_ones_nearly_free() -> None:
    estimator = make_estimator()
    for _ in range(10):
        learn(estimator, 2_000, LARGE_PNG, 1)
    assert estimator.estimate_ms("a", 2_000, LARGE_PNG) > 50


@pytest.mark.parametrize(
    ("encode_large", "at_least_ms"),
    [
        pytest.param(partial(encode, "WEBP"), 30, id="WebP"),
        pytest.param(partial(encode, "PNG"), 30, id="PNG"),
        pytest.param(partial(encode, "JPEG", progressive=True), 40, id="progressive JPEG"),
        pytest.param(partial(encode, "TIFF", compression="tiff_lzw"), 10, id="TIFF"),
        pytest.param(partial(encode, "AVIF", speed=10), 25, id="AVIF"),
        pytest.param(encode_heic, 100, id="HEIC"),
    ],
)
def test_a_small_file_with_many_pixels_takes_long(encode_large: Callable[[], bytes], at_least_ms: float) -> None:
    encoded = encode_large()
    assert len(encoded) < 200_000
    assert estimate_decoding_ms(encoded) > at_least_ms


def test_what_will_not_be_decoded_takes_almost_no_time() -> None:
    assert estimate_decoding_ms(encode("PNG", side_px=SIDE_PX + 1)) < 2
    assert estimate_decoding_ms(b"hello") < 1


def test_an_unknown_size_counts_as_the_largest_allowed() -> None:
    encoded = encode("JPEG", side_px=8)
    hidden = encoded[:2] + b"\xff\xfe\0\x02" * 1000 + encoded[2:]
    assert estimate_decoding_ms(hidden) == estimate_decoding_ms(encode("JPEG"))


def test_times_of_heic_are_not_learnt_since_another_thread_decodes() -> None:
    estimator, heic = make_estimator(), ImageHeader(ImageFormat.HEIC, 12_000_000)
    before_ms = estimator.estimate_ms("a", SMALL, heic)
    learn(estimator, SMALL, heic, 0.01)
    assert estimator.estimate_ms("a", SMALL, heic) == before_ms
