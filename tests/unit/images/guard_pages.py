"""Resize images whose first or last byte borders on a protected page: a read out of bounds ends this program."""

import ctypes
import faulthandler
import mmap
import os
import random
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bento_service.domain.models import Fit, InputRecipe, Interpolation
from bento_service.images.geometry import BY_EXIF, plan_geometry
from bento_service.images.resize import RGBX_MODE, resize_and_crop

Edge = Literal["first", "last"]
RECIPE = InputRecipe(224, 224, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
TARGETS = ((224, 224, 0.875), (240, 240, 0.882), (224, 224, 1), (64, 96, 0.875), (32, 32, 1), (1, 1, 1), (7, 5, 0.5))
MAX_PIXELS = 2_000_000
PAGE = mmap.PAGESIZE
PROT_NONE = 0


@contextmanager
def guarded(size_bytes: int, edge: Edge) -> Iterator[NDArray[np.uint8]]:
    """Lend a buffer between two protected pages; its `edge` byte borders on one."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    room = -(-size_bytes // PAGE) * PAGE
    with mmap.mmap(-1, room + 2 * PAGE) as memory:
        begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        guards = (begin, begin + PAGE + room)
        protect(libc, guards, PROT_NONE)
        place = begin + PAGE + (room - size_bytes if edge == "last" else 0)
        yield np.ctypeslib.as_array((ctypes.c_ubyte * size_bytes).from_address(place))
        protect(libc, guards, mmap.PROT_READ | mmap.PROT_WRITE)


def protect(libc: ctypes.CDLL, pages: tuple[int, ...], protection: int) -> None:
    for page in pages:
        if libc.mprotect(page, PAGE, protection) != 0:
            raise OSError(ctypes.get_errno(), "mprotect failed")


def draw_size(chance: random.Random, target_px: int) -> tuple[int, int]:
    """Draw odd sizes: slivers, whole multiples of the target and their neighbours, one-pixel sides, anything."""
    near_px = target_px * chance.randint(1, 5) + chance.randint(-1, 1)
    sides = chance.choice(
        [
            (1, chance.choice([1, 2, target_px - 1, target_px, target_px + 1, 65_535])),
            (target_px + chance.randint(-1, 3), chance.randint(1, 6000)),
            (near_px, target_px * chance.randint(1, 5)),
            (chance.randint(1, 40), chance.randint(1, 4000)),
            (chance.randint(1, 1200), chance.randint(1, 1200)),
        ]
    )
    width_px, height_px = chance.sample([max(side, 1) for side in sides], 2)
    return width_px, min(height_px, max(MAX_PIXELS // width_px, 1))


def resize_guarded(chance: random.Random) -> None:
    """Resize one image of a drawn size, target, mode and orientation."""
    height_px, width_px, crop_fraction = chance.choice(TARGETS)
    interpolation: Interpolation = chance.choice(["bilinear", "bicubic", "lanczos"])
    fit: Fit = chance.choice(["crop", "crop", "squash", "letterbox"])
    recipe = replace(
        RECIPE,
        height_px=height_px,
        width_px=width_px,
        crop_fraction=crop_fraction,
        interpolation=interpolation,
        fit=fit,
    )
    size = draw_size(chance, int(width_px / crop_fraction))
    mode, channels = chance.choice([("L", 1), (RGBX_MODE, 4)])
    orientation = BY_EXIF[chance.randint(1, 8)]
    upright = size[::-1] if orientation.is_transposed else size
    edge: Edge = chance.choice(["first", "last"])
    with guarded(size[0] * size[1] * channels, edge) as pixels:
        pixels[...] = chance.randrange(256)
        image = Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1)
        result = resize_and_crop(image, plan_geometry(*upright, recipe), interpolation, orientation)
    if result.shape != (height_px, width_px, 3):
        raise AssertionError(f"{size} became {result.shape}")


def check_guard(edge: Edge, offset: int) -> None:
    """Check that a read beside a guarded buffer ends a child process."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with guarded(10_000, edge) as pixels:
            ctypes.string_at(pixels.ctypes.data + offset, 1)
            os._exit(0)
    if os.WTERMSIG(os.waitpid(child, 0)[1]) != signal.SIGSEGV:
        raise AssertionError(f"byte {offset} can be read")


def main(count: int) -> None:
    check_guard("last", 10_000)
    check_guard("first", -1)
    faulthandler.enable()
    chance = random.Random(7)  # noqa: S311 - the same cases each time
    for _ in range(count):
        resize_guarded(chance)
    print(count)


if __name__ == "__main__":
    main(int(sys.argv[1]))
