import time

import pytest

from bento_service.http.requests.accept import prefers


@pytest.mark.parametrize(
    ("accept", "is_png"),
    [
        ("image/png", True),
        ("IMAGE/PNG ; Q=0.2", True),
        ("image/*", True),
        ("image/png, application/json;q=0.9", True),
        ("image/png;q=0.5, application/json", False),
        ("image/png;q=0, */*", False),
        ("image/png;q=none", True),
        ("image/png, application/json", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_an_offered_media_type_is_taken_where_its_weight_is_the_larger_one(accept: str, *, is_png: bool) -> None:
    assert prefers(accept, "image/png", "application/json") is is_png


@pytest.mark.parametrize("piece", [";", '"', ";q=", ","])
def test_a_header_of_the_longest_length_allowed_does_not_hold_the_event_loop(piece: str) -> None:
    accept = 'image/png;q="' + piece * (65_000 // len(piece))
    begun_s = time.process_time()
    prefers(accept, "image/png", "application/json")
    assert time.process_time() - begun_s < 0.5
