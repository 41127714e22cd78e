import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.pipeline.work_estimate import DecodeTimeModel, ImageKind, WorkEstimator

SMALL, LARGE = 48_000, 2_000_000


def make_cost(*, decode_threads: int = 2, lanes: int = 2, shares_cores: bool = True) -> WorkEstimator:
    return WorkEstimator({"a": 9.0}, decode_threads=decode_threads, lanes=lanes, shares_cores=shares_cores)


def test_the_first_guess_is_twice_what_decoding_a_photograph_was_measured_to_take() -> None:
    decode = DecodeTimeModel()
    assert decode.predict_ms(SMALL) == pytest.approx(1.7, rel=0.05)
    assert decode.predict_ms(LARGE) == pytest.approx(55, rel=0.05)


def test_what_decoding_takes_here_is_learnt_for_small_and_large_images() -> None:
    decode = DecodeTimeModel()
    for _ in range(300):
        decode.learn(SMALL, 4.0)
        decode.learn(LARGE, 20.0)
    assert decode.predict_ms(SMALL) == pytest.approx(4.0, rel=0.15)
    assert decode.predict_ms(LARGE) == pytest.approx(20.0, rel=0.25)


def test_small_images_alone_do_not_make_large_ones_cheap() -> None:
    decode = DecodeTimeModel()
    for number in range(1000):
        decode.learn(SMALL + number % 7, 1.2)
    assert decode.predict_ms(SMALL) == pytest.approx(1.2, rel=0.1)
    assert decode.predict_ms(LARGE) > 30


def test_one_image_that_took_for_ever_says_little() -> None:
    decode = DecodeTimeModel()
    for _ in range(100):
        decode.learn(SMALL, 1.7)
    decode.learn(SMALL, 60_000)
    assert decode.predict_ms(SMALL) < 1.2 * 1.7


@given(images=st.lists(st.tuples(st.integers(0, 10**8), st.floats(0, 1e6)), max_size=100), size=st.integers(0, 10**8))
def test_whatever_it_is_taught_decoding_takes_some_time(images: list[tuple[int, float]], size: int) -> None:
    decode = DecodeTimeModel()
    for encoded_bytes, decode_ms in images:
        decode.learn(encoded_bytes, decode_ms)
    assert 0 < decode.predict_ms(size) < float("inf")
    assert decode.predict_ms(size) <= decode.predict_ms(2 * size)


def test_on_a_cpu_decoding_and_inference_take_turns_on_the_cores() -> None:
    assert make_cost().estimate_ms("a", SMALL, ImageKind.JPEG) == pytest.approx((1.7 + 9.0) / 2, rel=0.02)


def test_beside_a_gpu_the_slower_of_the_two_sets_the_pace() -> None:
    cost = make_cost(decode_threads=4, lanes=1, shares_cores=False)
    assert cost.estimate_ms("a", SMALL, ImageKind.JPEG) == pytest.approx(9.0)
    assert cost.estimate_ms("a", LARGE, ImageKind.JPEG) == pytest.approx(55 / 4, rel=0.05)


def test_what_is_learnt_of_one_format_is_not_believed_of_another() -> None:
    cost = make_cost()
    before_ms = cost.estimate_ms("a", SMALL, ImageKind.JPEG)
    for _ in range(100):
        cost.learn_decode(SMALL, ImageKind.PNG, decode_ms=40)
    assert cost.estimate_ms("a", SMALL, ImageKind.JPEG) == before_ms
    assert cost.estimate_ms("a", SMALL, ImageKind.PNG) > 2 * before_ms


@pytest.mark.parametrize(
    ("encoded_bytes", "kind", "taken_ms"),
    [
        (89_000, ImageKind.WEBP, 442),
        (162_000, ImageKind.PNG, 428),
        (294_000, ImageKind.PROGRESSIVE_JPEG, 576),
        (782_000, ImageKind.JPEG, 80),
    ],
)
def test_fifty_megapixels_of_one_colour_cost_what_their_pixels_do(
    encoded_bytes: int, kind: ImageKind, taken_ms: float
) -> None:
    estimated_ms = make_cost().estimate_ms("a", encoded_bytes, kind, pixels=50_000_000)
    assert estimated_ms == pytest.approx((taken_ms + 9.0) / 2, rel=0.1)


def test_the_pixels_of_a_photograph_change_nothing_since_its_bytes_take_longer() -> None:
    cost = make_cost()
    assert cost.estimate_ms("a", SMALL, ImageKind.JPEG, pixels=190_000) == cost.estimate_ms("a", SMALL, ImageKind.JPEG)


def test_what_a_pixel_takes_here_is_learnt_and_leaves_the_bytes_alone() -> None:
    cost = make_cost()
    by_bytes_ms = cost.estimate_ms("a", SMALL, ImageKind.PNG)
    for _ in range(100):
        cost.learn_decode(89_000, ImageKind.PNG, decode_ms=800, pixels=50_000_000)
    assert cost.estimate_ms("a", 89_000, ImageKind.PNG, pixels=25_000_000) == pytest.approx((400 + 9) / 2, rel=0.05)
    assert cost.estimate_ms("a", SMALL, ImageKind.PNG) == by_bytes_ms


def test_cheap_pixels_do_not_make_dear_ones_nearly_free() -> None:
    cost = make_cost()
    for _ in range(1000):
        cost.learn_decode(2_000, ImageKind.PNG, decode_ms=1, pixels=50_000_000)
    assert cost.estimate_ms("a", 2_000, ImageKind.PNG, pixels=50_000_000) > 50
