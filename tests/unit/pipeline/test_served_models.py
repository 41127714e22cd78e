from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.domain.registry import CHAMPION, Canary, Deployment, Shadow
from bento_service.domain.service import ServedModel
from bento_service.errors import InvalidParameterError, UnknownModelError
from bento_service.pipeline.served_models import ServedModels, is_chosen
from tests.fakes.classifier import served_model


def version_of(name: str, version: str, labels: tuple[str, ...] = ("cat", "dog")) -> ServedModel:
    return served_model(name, version=version, labels=labels)


def deploy(aliases: Mapping[str, str], *, canary: str = "", shadow: str = "") -> Deployment:
    return Deployment(
        "pets",
        tuple(aliases.values()),
        aliases,
        canary=Canary(canary, 0.5) if canary else None,
        shadow=Shadow(shadow, 0.5) if shadow else None,
    )


@pytest.fixture
def served() -> ServedModels:
    models = ServedModels.of([version_of("pets", "aa11"), version_of("cars", "cc33")], "pets")
    for version in (version_of("pets", "ab22"), version_of("pets", "dd44", ("other",))):
        models = models.with_version(version)
    return models.with_deployment(deploy({CHAMPION: "ab22", "challenger": "aa11", "gone": "ee55"}))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (None, "pets:ab22"),
        ("pets", "pets:ab22"),
        ("pets:aa11", "pets:aa11"),
        ("pets:d", "pets:dd44"),
        ("pets@champion", "pets:ab22"),
        ("pets@challenger", "pets:aa11"),
        ("cars", "cars:cc33"),
    ],
)
def test_a_model_is_found_by_name_version_and_alias(served: ServedModels, asked: str | None, found: str) -> None:
    assert served.find(asked).card.key == found


@pytest.mark.parametrize(
    "asked", ["dogs", "pets:a", "pets:", "pets:zz", "pets@gone", "pets@", "@champion", "", ":aa11"]
)
def test_an_unknown_or_ambiguous_name_is_told_what_is_served(served: ServedModels, asked: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        served.find(asked)
    assert caught.value.details["models"] == ["pets", "cars", "pets@challenger", "pets:aa11", "pets:dd44"]


def test_a_default_that_is_not_loaded_yet_is_replaced_by_no_other_model() -> None:
    with pytest.raises(UnknownModelError, match=r"No model named 'pets' is served\. Served: cars\."):
        ServedModels.of([version_of("cars", "cc33")], "pets").find(None)


def test_only_a_champion_is_shown_by_its_bare_name(served: ServedModels) -> None:
    shown = {key: served.name_of(key) for key in ("pets:ab22", "pets:aa11", "pets:9999")}
    assert shown == {"pets:ab22": "pets", "pets:aa11": "pets:aa11", "pets:9999": "pets:9999"}


def test_a_change_leaves_the_table_that_a_request_holds(served: ServedModels) -> None:
    promoted = served.with_deployment(deploy({CHAMPION: "aa11"})).without_version("pets", "ab22")
    assert promoted.find("pets").card.version == "aa11"
    assert not promoted.has("pets:ab22")
    assert served.find("pets").card.version == "ab22"


@pytest.mark.parametrize(
    ("deployment", "message"),
    [
        (deploy({CHAMPION: "ee55"}), "pets:ee55 is not loaded"),
        (deploy({CHAMPION: "ab22"}, canary="ee55"), "pets:ee55 is not loaded"),
        (deploy({CHAMPION: "ab22"}, canary="dd44"), "other labels than the champion ab22"),
        (deploy({CHAMPION: "ab22"}, shadow="dd44"), "other labels than the champion ab22"),
        (deploy({}), "cannot be unloaded"),
    ],
)
def test_a_deployment_that_cannot_serve_is_refused(served: ServedModels, deployment: Deployment, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        served.with_deployment(deployment)


@pytest.mark.parametrize("role", ["canary", "shadow"])
def test_a_version_that_requests_reach_is_not_unloaded(served: ServedModels, role: str) -> None:
    routed = served.with_deployment(deploy({CHAMPION: "ab22"}, **{role: "aa11"}))
    for version in ("ab22", "aa11"):
        with pytest.raises(InvalidParameterError, match=f"pets:{version} is the champion, the canary or the shadow"):
            routed.without_version("pets", version)


def test_an_empty_deployment_ends_a_name_once_its_versions_are_gone(served: ServedModels) -> None:
    ended = served.with_deployment(Deployment("cars", (), {}))
    assert [model.card.name for model in ended.champions] == ["pets"]
    assert ended.find("cars:cc33").card.name == "cars"
    assert "cars" not in ended.without_version("cars", "cc33").names


@given(value=st.text(), smaller=st.floats(0, 1), larger=st.floats(0, 1))
def test_a_larger_share_keeps_what_a_smaller_one_has(value: str, smaller: float, larger: float) -> None:
    smaller, larger = sorted((smaller, larger))
    assert is_chosen(value, purpose="canary", share=smaller) <= is_chosen(value, purpose="canary", share=larger)
    assert not is_chosen(value, purpose="canary", share=0)
    assert is_chosen(value, purpose="canary", share=1)


def test_a_share_of_many_values_is_chosen_and_purposes_choose_apart() -> None:
    canary, shadow = (
        {value for value in range(4000) if is_chosen(str(value), purpose=purpose, share=0.1)}
        for purpose in ("canary", "shadow")
    )
    assert 300 < len(canary) < 500
    assert len(canary & shadow) < 80
