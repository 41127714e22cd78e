from bento_service.hardware import count_cpus
from bento_service.models.catalogue import Catalogue
from bento_service.models.store import BentoModelStore
from bento_service.settings import Settings
from bento_service.warm_models import load_models

NAMES = ("efficientnet_lite2", "efficientnet_lite0", "efficientnet_lite1")


def test_models_that_load_side_by_side_stand_in_the_order_asked_for_each_with_costs_of_its_own(
    bentoml_home: object,
) -> None:
    settings = Settings(models=NAMES, engine="openvino", device="cpu")

    warm = load_models(Catalogue(BentoModelStore()), NAMES, settings)

    try:
        assert tuple(model.card.name for model in warm.models) == NAMES
        assert set(warm.costs) == set(NAMES)
        sizes_px = [model.card.recipe.height_px for model in warm.models]
        assert sizes_px == [260, 224, 240]
        assert 1 <= warm.division.lanes <= count_cpus()
    finally:
        warm.close()
