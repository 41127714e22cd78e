import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.engines.torch.buckets import choose_bucket, list_buckets

sizes = st.integers(1, 4096)


@given(sizes)
def test_buckets_ascend_from_one_to_the_largest_batch(max_batch: int) -> None:
    buckets = list_buckets(max_batch)

    assert buckets[0] == 1
    assert buckets[-1] == max_batch
    assert list(buckets) == sorted(set(buckets))


@given(sizes, sizes)
def test_less_than_half_of_a_bucket_is_padding(first: int, second: int) -> None:
    count, max_batch = sorted((first, second))

    bucket = choose_bucket(count, list_buckets(max_batch))

    assert count <= bucket < 2 * count


def test_more_images_than_the_largest_bucket_holds_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"129 images.*128"):
        choose_bucket(129, list_buckets(128))


def test_a_largest_batch_of_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list_buckets(0)
