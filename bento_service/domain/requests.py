"""One request: the image, its answer and its receipt."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import ScoreKind


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class and its probability in [0, 1]; `ScoreKind` says whether those of all classes sum to one."""

    class_id: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The format of the received bytes (`JPEG`, `PNG`, ...) and the size of the upright image."""

    format: str
    width_px: int
    height_px: int


class ImageWarning(StrEnum):
    """A conversion that was made. The names are stable and part of the HTTP contract (`warnings`)."""

    FIRST_FRAME_USED = "first_frame_used"
    """The file is an animation or has several images; only the first, or a HEIC's primary one, was classified."""
    ICC_PROFILE_IGNORED = "icc_profile_ignored"
    """The file carries an ICC colour profile; its values were read as sRGB."""
    METADATA_IGNORED = "metadata_ignored"
    """Metadata (EXIF, a profile, text) are damaged or too large and were left out; the pixels are whole."""
    SCALED_DECODING = "scaled_decoding"
    """A large JPEG was scaled down while it was decoded, which is faster and fails the parity gate: opt-in."""
    DAMAGE_TOLERATED = "damage_tolerated"
    """A JPEG holds bytes that its decoder could not use: the picture is complete, but part of it may be wrong."""
    BIT_DEPTH_REDUCED = "bit_depth_reduced"
    """Samples of more than 8 bits were scaled to 8."""
    RANGE_STRETCHED = "range_stretched"
    """Floating-point samples outside 0 to 65535 were stretched: their lowest became black and their highest white."""
    GREYSCALE_CONVERTED = "greyscale_converted"
    """Grey or black-and-white samples became equal red, green and blue."""
    PALETTE_CONVERTED = "palette_converted"
    """Palette indices became the colours that they stand for."""
    CMYK_CONVERTED = "cmyk_converted"
    """CMYK or YCCK inks became RGB, by the plain formula, without a profile."""
    LAB_CONVERTED = "lab_converted"
    """CIE L*a*b* became sRGB."""
    ALPHA_FLATTENED = "alpha_flattened"
    """Transparent pixels were laid over white."""
    EXIF_ORIENTATION_APPLIED = "exif_orientation_applied"
    """The image was turned or mirrored as its EXIF or XMP orientation says."""


@dataclass(frozen=True, slots=True)
class PreprocessedImage:
    """An image ready for a model; `warnings` names the conversions in their order.

    `pixels_hwc` is RGB or grey, 0-255, shape `recipe.shape_hwc`, C-contiguous.
    """

    pixels_hwc: NDArray[np.uint8]
    info: ImageInfo
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """The whole decoded image, upright, over white, scaled to at most 640 px a side: an 8-bit RGB PNG."""

    png: bytes
    info: ImageInfo
    warnings: tuple[str, ...]


class Priority(StrEnum):
    """The priority of a request, in every queue."""

    INTERACTIVE = "interactive"
    """The default: somebody waits for the answer."""
    BULK = "bulk"
    """Runs when no interactive work waits."""


@dataclass(frozen=True, slots=True)
class Timings:
    """The duration of a request and its four stages, which do not overlap and sum to at most `total_ms`.

    `receive_ms`: from the request's headers to its last byte. `decode_ms`: bytes to tensor, in a decode thread.
    `queue_ms`: all other time before inference: cache look-up, waits for a decode thread and a lane. `inference_ms`:
    the engine's run of the request's batch.
    """

    receive_ms: float = 0.0
    decode_ms: float = 0.0
    queue_ms: float = 0.0
    inference_ms: float = 0.0
    total_ms: float = 0.0


OUTCOME_OK = "ok"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome and the costs of one request: a row of the journal.

    `outcome` is `ok` or the error's code. `model` is a served model's name, or empty for an unknown one. `top` holds
    up to five predictions, best first, whose scores are of `score_kind`. `digest` is the SHA-256 of the encoded bytes
    in hex, or empty where they were not all received; the image itself is never stored. `received_at` is in UTC.
    `further_runs` counts runs of the model beyond the image's own, such as those of an occlusion; the journal does not
    store it.
    """

    request_id: str
    received_at: datetime
    model: str
    model_version: str
    outcome: str
    timings: Timings
    top: tuple[Prediction, ...] = ()
    batch_size: int = 0
    dispatch: str = ""
    image: ImageInfo | None = None
    digest: str = ""
    cached: bool = False
    warnings: tuple[str, ...] = ()
    score_kind: ScoreKind = "softmax"
    further_runs: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A classified image. `predictions` is sorted by descending score, ties by class_id, `top_k` long.

    `scores` are those of all classes by class_id.
    """

    receipt: Receipt
    predictions: tuple[Prediction, ...]
    image: ImageInfo
    warnings: tuple[str, ...]
    scores: NDArray[np.float32] = field(compare=False)
