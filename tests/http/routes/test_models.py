import pytest
from starlette.testclient import TestClient

from lightbox_client.contract import Labels, ModelCard, ModelList
from tests.fakes.classifier import LABELS
from tests.http.expectations import expect_problem


def test_the_list_has_every_model_in_the_order_of_the_settings(client: TestClient) -> None:
    answer = ModelList.model_validate_json(client.get("/v1/models").content)

    assert [(card.name, card.is_default) for card in answer.models] == [
        ("lite0", True),
        ("timm/resnet50.a1_in1k", False),
    ]


@pytest.mark.parametrize("path", ["timm/resnet50.a1_in1k", "timm%2Fresnet50.a1_in1k"])
def test_a_card_is_found_by_a_name_with_a_slash(client: TestClient, path: str) -> None:
    card = ModelCard.model_validate_json(client.get(f"/v1/models/{path}").content)

    assert card.model_dump() == {
        "name": "timm/resnet50.a1_in1k",
        "version": "v-timm/resnet50.a1_in1k",
        "is_default": False,
        "labels_count": 10,
        "input_size": {"width": 224, "height": 224},
        "crop_fraction": 0.875,
        "fit": "crop",
        "pad_value": 0,
        "interpolation": "bicubic",
        "is_antialiased": True,
        "channels": "rgb",
        "score_kind": "softmax",
        "max_batch": None,
        "found_in": {},
        "source": "bundled",
        "licence": "Apache-2.0",
        "engine": "openvino",
        "precision": "f32",
        "device": {"kind": "cpu", "name": "a CPU", "memory_bytes": 8_000_000_000, "cores": 2},
        "state": "ready",
        "parity": {"crops": 200, "top1_agreement": 1.0, "max_probability_difference": 0.001},
        "aliases": {"champion": "v-timm/resnet50.a1_in1k"},
        "versions": [
            {
                "version": "v-timm/resnet50.a1_in1k",
                "state": "READY",
                "reason": "",
                "aliases": ["champion"],
                "memory_bytes": None,
                "workers": {},
            }
        ],
        "canary": None,
        "shadow": None,
    }


@pytest.mark.parametrize("name", ["lite0", "timm/resnet50.a1_in1k"])
def test_labels_stand_at_their_class_ids(client: TestClient, name: str) -> None:
    answer = Labels.model_validate_json(client.get(f"/v1/models/{name}/labels").content)

    assert answer.model.name == name
    assert answer.labels == list(LABELS)


@pytest.mark.parametrize("path", ["nope", "timm/nope", "nope/labels", "timm/nope/labels", ""])
def test_an_unknown_name_is_answered_with_those_that_exist(client: TestClient, path: str) -> None:
    problem = expect_problem(client.get(f"/v1/models/{path}"), 404, "unknown_model")

    assert problem.model_extra == {"models": ["lite0", "timm/resnet50.a1_in1k"]}
