"""The limit on pixels, which holds before any is decoded."""

from bento_service.errors import TooManyPixelsError


def check_pixels(width_px: int, height_px: int, max_pixels: int) -> None:
    """Refuse an image larger than allowed.

    Raises:
        TooManyPixelsError: `width_px` times `height_px` exceeds `max_pixels`.
    """
    if width_px * height_px > max_pixels:
        raise TooManyPixelsError(
            f"The image is {width_px} x {height_px} = {width_px * height_px:,} pixels; {max_pixels:,} are allowed; "
            "send a smaller one.",
            pixels=width_px * height_px,
            max_pixels=max_pixels,
        )
