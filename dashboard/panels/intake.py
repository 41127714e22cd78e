"""Where images come in: upload, paste, camera and the bundled samples. Each replaces the images on the page."""

import base64
from collections.abc import Iterable, Sequence

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard import preview
from dashboard.address import write_address
from dashboard.gallery import SAMPLES, Sample, find_sample
from dashboard.session import classify_session
from dashboard.settings import DashboardSettings
from dashboard.uploads import select

UPLOAD, PASTE, CAMERA = "Upload", "Paste", "Camera"
THUMBNAIL_PX = (240, 160)
ANSWERS = "classify_answers"
"""The key of the container that holds the answers."""
_CHIP = ".st-key-classify_uploader [data-testid=stFileChip]"
_REFUSED = "[aria-invalid=true]"
STYLE = f"""
.st-key-classify_samples > div {{ flex: 1 1 0; min-width: 0; }}
{_CHIP}{_REFUSED} {{ flex-wrap: wrap; }}
{_CHIP}{_REFUSED} [role=alert] {{
  position: static; clip: auto; clip-path: none; width: 100%; height: auto; margin: 0; white-space: normal;
  font-size: 0.875rem;
}}
@media (max-width: 640px) {{
  .st-key-classify_uploader [data-testid=stFileChips] > div {{ max-height: 8.5rem; }}
}}
body:has({_CHIP}{_REFUSED}):not(:has({_CHIP}:not({_REFUSED}))) .st-key-{ANSWERS} {{ display: none; }}
"""
"""Makes samples equally wide, and scrolls a long list of files on a phone, where the answers are below it.

Streamlit refuses a file that is too large in the browser, with a reason for screen readers only, and tells the page
nothing: the reason is shown beside the file's name, and no other image's answer is.
"""
CAMERA_NAME = "camera.jpg"


def show_intake(settings: DashboardSettings) -> None:
    """Offer every way in; what is handed over lands in the visitor's `ClassifySession`."""
    st.html(f"<style>{STYLE}{''.join(_picture_style(sample.key) for sample in SAMPLES)}</style>")
    source = st.segmented_control(
        "Your image",
        [UPLOAD, PASTE, CAMERA],
        default=UPLOAD,
        required=True,
        key="classify_source",
        persist_state="session",
        label_visibility="collapsed",
        width="stretch",
    )
    if source == PASTE:
        _show_paste(settings)
    elif source == CAMERA:
        st.camera_input(
            "Camera",
            key=_own_key("camera"),
            label_visibility="collapsed",
            on_change=_take_photograph,
            args=(settings,),
        )
    else:
        _show_uploader(settings)
    _show_samples()


def _show_uploader(settings: DashboardSettings) -> None:
    # Of any type: the service's reason for a refusal is a line of its own, Streamlit's only a pointer finds.
    with st.container(key="classify_uploader"):
        st.file_uploader(
            f"Images: up to {settings.dashboard_max_files} at a time",
            accept_multiple_files=True,
            key=_own_key("upload"),
            label_visibility="collapsed",
            on_change=_take_uploaded,
            args=(settings,),
        )


def _show_paste(settings: DashboardSettings) -> None:
    st.chat_input(
        "Paste an image (Ctrl/⌘ V)",
        key="classify_paste",
        accept_file="multiple",
        on_submit=_take_pasted,
        args=(settings,),
    )
    if classify_session().has_text_only:
        st.warning("That was text. Copy an image, such as a screenshot, and paste it here.", icon=":material/title:")
    else:
        st.caption("Then press Enter. On phones: tap and paste.")


def _show_samples() -> None:
    """Show each sample as a button with its picture on it."""
    with st.container(horizontal=True, gap="xsmall", key="classify_samples"):
        for sample in SAMPLES:
            st.button(
                sample.title,
                key=f"classify_sample_{sample.key}",
                help=f"Photograph: {sample.credit}",
                width="stretch",
                on_click=_take_sample,
                args=(sample,),
            )


@st.cache_data(max_entries=16, show_spinner=False)
def _picture_style(key: str) -> str:
    """Return CSS that puts a sample's picture above its button's label; Streamlit's buttons take no picture."""
    sample = find_sample(key)
    if sample is None:
        raise ValueError(f"there is no sample {key!r}")
    width_px, height_px = THUMBNAIL_PX
    picture = preview.draw_thumbnail(sample.path.read_bytes(), width_px=width_px, height_px=height_px)
    data = base64.b64encode(picture).decode()
    return (
        f".st-key-classify_sample_{key} button {{"
        f"background: url(data:image/png;base64,{data}) top center / 100% 3.75rem no-repeat;"
        "padding: 4rem 0.125rem 0.25rem; overflow: hidden; }"
    )


def _own_key(kind: str) -> str:
    """Name a widget for the visitor's own images. A widget of a new name is empty, which no other way makes it."""
    return f"classify_{kind}_{classify_session().widgets_made}"


def _take_sample(sample: Sample) -> None:
    session = classify_session()
    session.show_sample(sample)
    write_address(session)


def _take_uploaded(settings: DashboardSettings) -> None:
    _take(_named(st.session_state[_own_key("upload")]), settings)


def _take_pasted(settings: DashboardSettings) -> None:
    files = _named(st.session_state["classify_paste"].files)
    if files:
        _take(files, settings)
    else:
        classify_session().has_text_only = True


def _take_photograph(settings: DashboardSettings) -> None:
    """Take the shot and close the camera, which would push the answer off a phone's screen."""
    shot = st.session_state[_own_key("camera")]
    if shot:
        _take([(CAMERA_NAME, shot)], settings)
        st.session_state["classify_source"] = UPLOAD


def _named(files: Sequence[UploadedFile] | None) -> list[tuple[str, UploadedFile]]:
    return [(file.name, file) for file in files or ()]


def _take(files: Iterable[tuple[str, UploadedFile]], settings: DashboardSettings) -> None:
    """Put files on the page, within the limits."""
    read = ((name, file.getvalue()) for name, file in files)
    session = classify_session()
    session.show(
        select(read, max_files=settings.dashboard_max_files, max_total_bytes=settings.dashboard_max_total_bytes)
    )
    write_address(session)
