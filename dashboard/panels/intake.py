"""Where images come in: upload, paste, camera and the bundled samples. Each replaces the images on the page."""

from collections.abc import Iterable, Sequence

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard import preview
from dashboard.gallery import SAMPLES, Sample
from dashboard.session import classify_session
from dashboard.settings import DashboardSettings
from dashboard.uploads import select

UPLOAD, PASTE, CAMERA = "Upload", "Paste", "Camera"
FILE_TYPES = (
    *("jpg", "jpeg", "jpe", "jfif", "jif", "pjpeg", "png", "webp", "gif", "bmp", "tif", "tiff"),
    *("heic", "heif", "hif", "avif"),
)
"""The endings that the file dialogue offers; the service goes by the bytes."""
THUMBNAIL_PX = (240, 160)
SAMPLE_PX = 90  # four of them side by side on a telephone
CAMERA_NAME = "camera.jpg"


def show_intake(settings: DashboardSettings) -> None:
    """Offer every way in; what is handed over lands in the visitor's `ClassifySession`."""
    own, samples = st.columns([3, 2], gap="large")
    with own:
        _show_own(settings)
    with samples:
        _show_samples(settings)


def _show_own(settings: DashboardSettings) -> None:
    source = st.segmented_control(
        "Your image",
        [UPLOAD, PASTE, CAMERA],
        default=UPLOAD,
        required=True,
        key="classify_source",
        persist_state="session",
    )
    if source == PASTE:
        st.chat_input(
            "Click here, press Ctrl+V, then Enter",
            key="classify_paste",
            accept_file="multiple",
            file_type="image",
            on_submit=_take_pasted,
            args=(settings,),
        )
        st.caption("Copy an image anywhere first: a screenshot, or a picture on a web page.")
    elif source == CAMERA:
        st.camera_input(
            "Camera",
            key=_own_key("camera"),
            label_visibility="collapsed",
            on_change=_take_photograph,
            args=(settings,),
        )
    else:
        st.file_uploader(
            f"Images: up to {settings.dashboard_max_files} at a time",
            type=FILE_TYPES,
            accept_multiple_files=True,
            key=_own_key("upload"),
            label_visibility="collapsed",
            on_change=_take_uploaded,
            args=(settings,),
        )


def _show_samples(settings: DashboardSettings) -> None:
    st.markdown(":small[Or a sample]", help="  \n".join(f"{sample.title}: {sample.credit}" for sample in SAMPLES))
    with st.container(horizontal=True, gap="xsmall"):
        for sample in SAMPLES:
            with st.container(width=SAMPLE_PX, gap="xsmall"):
                st.image(_thumbnail(sample.name), width="stretch", alt=sample.alt)
                st.button(
                    sample.title,
                    key=f"classify_sample_{sample.name}",
                    help=sample.credit,
                    width="stretch",
                    on_click=_take_sample,
                    args=(sample, settings),
                )


def _own_key(kind: str) -> str:
    """Name a widget for the visitor's own images. A widget of a new name is empty, which no other way makes it."""
    return f"classify_{kind}_{classify_session().samples_taken}"


def _take_sample(sample: Sample, settings: DashboardSettings) -> None:
    # A file that is still listed beside another image's answer would look as if it were the one answered.
    classify_session().samples_taken += 1
    _take([(sample.name, sample)], settings)


def _take_uploaded(settings: DashboardSettings) -> None:
    _take(_named(st.session_state[_own_key("upload")]), settings)


def _take_pasted(settings: DashboardSettings) -> None:
    _take(_named(st.session_state["classify_paste"].files), settings)


def _take_photograph(settings: DashboardSettings) -> None:
    shot = st.session_state[_own_key("camera")]
    _take([(CAMERA_NAME, shot)] if shot else [], settings)


def _named(files: Sequence[UploadedFile] | None) -> list[tuple[str, UploadedFile]]:
    return [(file.name, file) for file in files or ()]


def _take(files: Iterable[tuple[str, UploadedFile | Sample]], settings: DashboardSettings) -> None:
    """Put files on the page, within the limits."""
    read = ((name, file.path.read_bytes() if isinstance(file, Sample) else file.getvalue()) for name, file in files)
    classify_session().show(
        select(read, max_files=settings.dashboard_max_files, max_total_bytes=settings.dashboard_max_total_bytes)
    )


@st.cache_data(max_entries=16, show_spinner=False)
def _thumbnail(name: str) -> bytes:
    sample = next(sample for sample in SAMPLES if sample.name == name)
    width_px, height_px = THUMBNAIL_PX
    return preview.draw_thumbnail(sample.path.read_bytes(), width_px=width_px, height_px=height_px)
