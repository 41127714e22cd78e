"""Explanations as the service answers them, of a photograph and a box that a test chooses."""

from collections.abc import Sequence

from lightbox_client.contract import Box, Explanation, ExplanationMethod, ImageInfo, ModelRef, TimingsMs


def grid_with(row: int, column: int, *, value: float = 2.0, elsewhere: float = 0.0) -> list[list[float]]:
    """Seven by seven cells, one of which counts."""
    return [[value if (y, x) == (row, column) else elsewhere for x in range(7)] for y in range(7)]


def explanation(
    *,
    image_px: tuple[int, int] = (64, 48),
    box: tuple[float, float, float, float] = (11.0, 3.0, 42.0, 42.0),
    grid: Sequence[Sequence[float]] = tuple(map(tuple, grid_with(1, 5))),
    method: ExplanationMethod = "cam",
    label: str = "Egyptian cat",
) -> Explanation:
    """A map; `box` is left, top, width, height."""
    left, top, width, height = box
    return Explanation(
        request_id="fake-1",
        model=ModelRef(name="efficientnet_lite0", version="v-efficientnet_lite0"),
        method=method,
        is_exact=method == "cam",
        class_id=285,
        label=label,
        score=0.36,
        grid=[list(row) for row in grid],
        bias=0.1 if method == "cam" else None,
        box=Box(left=left, top=top, width=width, height=height),
        image=ImageInfo(format="JPEG", width=image_px[0], height=image_px[1]),
        warnings=[],
        timings_ms=TimingsMs(receive=0.4, decode=1.3, queue=2.0, inference=9.1, total=13.0),
    )
