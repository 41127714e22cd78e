"""The names of everything that the intake does to an image beyond decoding and resizing it."""

from enum import StrEnum


class IntakeWarning(StrEnum):
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
    """A JPEG holds bytes that its decoder had no use for: the picture is complete, but part of it may be wrong."""
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
