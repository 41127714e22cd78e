"""The picture beside an answer: what the model saw of it or, if the visitor wants to know why, what counted."""

from collections.abc import Sequence

import streamlit as st

from dashboard import heatmap, map_wording, preview, wording
from dashboard.charts.answer import unique_label
from dashboard.markdown import literal
from dashboard.reads import forget_models, open_service, read_preview
from dashboard.session import ClassifySession, MapKey, classify_session
from dashboard.uploads import Picked
from lightbox_client import LightboxClientError
from lightbox_client.contract import Classification, Explanation, ModelCard, Prediction
from lightbox_client.errors import NotReadyError, ServiceUnreachableError
from lightbox_client.preview import Preview


@st.fragment
def show_picture(image: Picked, answer: Classification, card: ModelCard, predictions: Sequence[Prediction]) -> None:
    """Show the picture, and a switch to the maps of the classes in `predictions`.

    A fragment: the rest of the page is not drawn again while the visitor looks at maps.
    """
    about = f"{answer.image.format}, {answer.image.width} × {answer.image.height} px"
    try:
        shown = read_preview(open_service(), image)
    except LightboxClientError:
        st.info(f"{literal(image.name)} ({about}) has no preview here.", icon=":material/image:")
        return
    maps = classify_session().maps
    maps.is_on = st.toggle("Show why: the parts that count", value=maps.is_on, key=f"classify_why_{image.digest}")
    if maps.is_on:
        _show_map(image, answer, card, predictions, shown)
        return
    views = _draw_views(image.digest, shown, preview.ModelInput.of(card))
    _show_overview(image, card, views, about)
    if views.model_input is not None:
        st.image(
            views.model_input,
            caption=f"What the model saw: {wording.input_size(card)}",
            width="content",
            alt=f"The part of {image.name} that the model saw",
        )


def _show_overview(image: Picked, card: ModelCard, views: preview.Views, about: str) -> None:
    is_cropped = card.fit == "crop"
    seen = "The model sees only the framed area" if is_cropped else "The model sees all of it"
    st.image(
        views.overview,
        caption=f"{literal(image.name)} · {about} · {seen}",
        width="content",
        alt=f"{image.name}, with the part that the model saw framed" if is_cropped else image.name,
    )


def _show_map(
    image: Picked, answer: Classification, card: ModelCard, predictions: Sequence[Prediction], shown: Preview
) -> None:
    """Show one class's map, or say why there is none."""
    session = classify_session()
    by_class = {prediction.class_id: prediction for prediction in predictions}
    choices = {
        prediction.class_id: map_wording.choice(prediction, unique_label(predictions, rank))
        for rank, prediction in enumerate(predictions)
    }
    class_id = st.selectbox(
        "Class of the map",
        list(choices),
        format_func=choices.__getitem__,
        key=f"classify_map_class_{image.digest}",
        label_visibility="collapsed",
    )
    prediction = by_class.get(class_id, predictions[0])
    outcome = _find_map(session, image, answer, prediction)
    if isinstance(outcome, Explanation):
        _show_drawing(session, image, outcome, shown)
        return
    views = _draw_views(image.digest, shown, preview.ModelInput.of(card))
    st.image(views.overview, width="content", alt=image.name)
    key = _key(image, answer, prediction)
    if outcome is None:
        _offer_estimate(session, key, prediction)
    else:
        _show_failure(session, key, outcome)


def _show_drawing(session: ClassifySession, image: Picked, explanation: Explanation, shown: Preview) -> None:
    place = st.container()
    session.maps.opacity = st.slider(
        "Opacity of the map",
        min_value=0,
        max_value=100,
        step=5,
        value=session.maps.opacity,
        format="%d%%",
        key=f"classify_map_opacity_{image.digest}",
    )
    png = heatmap.draw_map(shown.png, explanation, opacity=session.maps.opacity / 100)
    place.image(png, width="content", alt=map_wording.alternative(image.name, explanation))
    st.markdown(literal(map_wording.description(explanation)))
    st.caption(literal(map_wording.details(explanation)))


def _find_map(
    session: ClassifySession, image: Picked, answer: Classification, prediction: Prediction
) -> Explanation | LightboxClientError | None:
    """Return the map or why there is none; None where it takes many runs and the visitor has not asked for it."""
    maps, key = session.maps, _key(image, answer, prediction)
    if key in maps.found:
        return maps.found[key]
    is_estimate = answer.model.version in maps.without_cam
    if is_estimate and key not in maps.estimates:
        return None
    with st.spinner("Estimating the map…" if is_estimate else "Making the map…"):
        outcome = open_service().explain(
            image,
            model=f"{answer.model.name}:{answer.model.version}",
            class_id=prediction.class_id,
            method="occlusion" if is_estimate else "cam",
        )
        # Kept before the spinner goes, where Streamlit ends this run if the visitor has touched something meanwhile.
        if not is_estimate and map_wording.has_no_cam(outcome):
            maps.without_cam.add(answer.model.version)
            return None
        maps.found[key] = outcome
    if isinstance(outcome, ServiceUnreachableError | NotReadyError):
        # The whole page says that the service is away, and asks again once it is back.
        forget_models()
        st.rerun()
    return outcome


def _key(image: Picked, answer: Classification, prediction: Prediction) -> MapKey:
    return image.digest, answer.model.version, prediction.class_id


def _offer_estimate(session: ClassifySession, key: MapKey, prediction: Prediction) -> None:
    st.info(literal(map_wording.offer(prediction.label)), icon=":material/grid_on:")
    st.button(
        "Estimate the map",
        key=f"classify_estimate_{key[0]}",
        icon=":material/grid_on:",
        on_click=session.maps.estimates.add,
        args=(key,),
    )


def _show_failure(session: ClassifySession, key: MapKey, error: LightboxClientError) -> None:
    if session.is_away and wording.is_passing(error):
        st.info("The map is made as soon as the service answers.", icon=":material/schedule:")
        return
    st.warning(literal(map_wording.failure(error)), title="There is no map", icon=":material/image_not_supported:")
    if wording.is_passing(error):
        st.button(
            "Ask for the map again",
            key=f"classify_map_again_{key[0]}",
            icon=":material/refresh:",
            on_click=session.maps.forget,
            args=(key,),
        )


@st.cache_data(max_entries=64, show_spinner=False)
def _draw_views(digest: str, _shown: Preview, model_input: preview.ModelInput) -> preview.Views:
    """Draw an image's views once; the cache's key has `digest` instead of the preview."""
    return preview.draw_views(_shown.png, model_input, original_px=(_shown.image.width, _shown.image.height))
