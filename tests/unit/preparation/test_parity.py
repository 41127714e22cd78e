import io
from itertools import islice
from pathlib import Path

from PIL import Image

from bento_service.preparation.parity import make_crops, measure_over
from bento_service.preparation.prepare import measure_nothing


def test_equal_seeds_make_equal_crops(photographs: tuple[Path, ...]) -> None:
    assert list(make_crops(photographs[:2], 5, seed=3)) == list(make_crops(photographs[:2], 5, seed=3))
    assert list(make_crops(photographs[:2], 5, seed=3)) != list(make_crops(photographs[:2], 5, seed=4))


def test_each_photograph_comes_whole_first(photographs: tuple[Path, ...]) -> None:
    whole = [Image.open(io.BytesIO(crop)).size for crop in islice(make_crops(photographs, 6), len(photographs))]

    assert whole == [Image.open(path).size for path in photographs]


def test_crops_are_jpegs_and_pngs_of_many_sizes(photographs: tuple[Path, ...]) -> None:
    images = [Image.open(io.BytesIO(crop)) for crop in make_crops(photographs[:2], 20)]

    assert {image.format for image in images} == {"JPEG", "PNG"}
    assert len({image.size for image in images}) > 15


def test_without_photographs_nothing_is_measured(tmp_path: Path) -> None:
    assert measure_over(tmp_path / "nowhere") is measure_nothing
