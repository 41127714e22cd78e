import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from bento_service.evaluation.folders import Photograph
from bento_service.evaluation.page import write_page
from bento_service.evaluation.report import give_verdict, list_notes, to_json
from bento_service.evaluation.tally import Scored, Tally
from bento_service.evaluation.thumbnails import SIDE_PX, draw_thumbnail
from tests.unit.evaluation.reports import LABELS, make_report, make_tally

RIGHT, WRONG = (0, 0), (0, 1)
HOSTILE = "\"><img src=x onerror=alert(1)>'</svg><script>alert(2)</script>{{ 7 * 7 }}"


class Reader(HTMLParser):
    """Notes each element of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]


def picture(path: str) -> str:
    return f"data:image/jpeg;base64,{len(path)}"


@pytest.mark.parametrize(
    ("least", "verdict"), [(0.75, "; 75.0% was asked for: reached"), (0.76, ": missed"), (None, "")]
)
def test_the_accuracy_itself_decides_whether_it_is_enough(least: float | None, verdict: str) -> None:
    report = make_report({"lite0": make_tally([RIGHT] * 3 + [WRONG])}, min_accuracy=least)

    assert give_verdict(report).startswith("lite0 is right on 75.0% of 4 photographs (95 % confidence: 30.1% to 95.4%)")
    assert give_verdict(report).endswith(verdict)
    assert report.is_accurate_enough is (verdict != ": missed")


def test_an_accuracy_just_below_what_was_asked_for_is_shown_with_the_digits_that_tell_them_apart() -> None:
    report = make_report({"lite0": make_tally([RIGHT] * 1899 + [WRONG] * 101)}, min_accuracy=0.95)

    assert give_verdict(report).startswith("lite0 is right on 94.95% of 2,000 photographs")
    assert give_verdict(report).endswith("; 95.00% was asked for: missed")


def test_what_limits_the_figures_is_said() -> None:
    tally = Tally(LABELS, are_probabilities=False)
    tally.add_failure(Photograph("a.jpg", 0), "timeout", "too late")
    for answer in (RIGHT, WRONG):
        tally.add(Photograph("b.jpg", answer[0]), make_scored(answer))

    notes = " ".join(list_notes(make_report({"lite0": tally}, found=9, ignored=1)))

    assert "A sample of 3 of 9 photographs" in notes
    assert "The folder has 2 of the model's 30 classes" in notes
    assert "1 file left out" in notes
    assert "Without an answer of lite0, and in no figure: 1 photograph, timeout (1)." in notes
    assert "The scores of lite0 are independent" in notes


def make_scored(answer: tuple[int, int]) -> Scored:
    return Scored([(answer[1], 0.8), (2, 0.3)], 0.8)


def test_json_has_every_figure_with_labels_and_the_sentences() -> None:
    report = make_report({"lite0": make_tally([RIGHT, WRONG]), "lite2": make_tally([RIGHT, RIGHT])}, min_accuracy=0.4)

    document = json.loads(to_json(report))

    assert (document["schema"], document["is_accurate_enough"]) == ("lightbox-evaluation/1", True)
    figures = document["models"][0]["figures"]
    assert figures["accuracy"]["value"] == 0.5
    counts = {"class_id": 0, "label": "cat", "photographs": 2, "named": 1, "right": 1}
    assert figures["classes"][0] == counts | {"precision": 1.0, "recall": 0.5, "f1": 2 / 3}
    assert figures["confusions"][1] == {"class_id": 0, "named_id": 1, "count": 1, "label": "cat", "named": "dog"}
    assert figures["mistakes"][0]["path"] == "photos/cat/1.jpg"
    assert document["models"][1]["comparison"]["difference"] == -0.5
    assert document["comparisons"][0].startswith("lite2 is 50.0 points more accurate than lite0")


def test_the_page_shows_each_model_with_plots_matrix_and_mistakes_and_loads_nothing() -> None:
    tallies = {"lite0": make_tally([RIGHT, WRONG, (1, 1)]), "lite2": make_tally([RIGHT, RIGHT, (1, 2)])}

    page = write_page(make_report(tallies), picture)

    read = Reader(page)
    assert (read.tags.count("svg"), read.tags.count("img"), read.tags.count("section")) == (4, 2, 2)
    assert set(read.tags).isdisjoint({"script", "link", "iframe", "object", "image", "use", "a", "form"})
    sources = [
        value for _, attributes in read.elements for name, value in attributes.items() if name in {"src", "href"}
    ]
    assert all(source and source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"@import|url\(|https?:", page)
    assert "default-src 'none'" in page
    assert "another class" in page  # the answer of a class that the folder does not have
    assert "cat/1.jpg" in page


def test_hostile_labels_and_file_names_are_only_text() -> None:
    labels = ("cat", HOSTILE, *LABELS[2:])
    plain = write_page(make_report({"lite0": make_tally([RIGHT, WRONG, (1, 0)])}), picture)

    hostile = write_page(
        make_report({"lite0": make_tally([RIGHT, WRONG, (1, 0)], labels=labels, path=f"photos/{HOSTILE}")}), picture
    )

    assert Reader(hostile).tags == Reader(plain).tags
    assert "&lt;script&gt;alert(2)&lt;/script&gt;{{ 7 * 7 }}" in hostile


def test_many_classes_have_no_matrix_and_no_mistakes_no_pictures() -> None:
    page = write_page(make_report({"lite0": make_tally([(number, number) for number in range(30)])}), picture)

    assert "Confusion matrix" not in page
    assert "Worst mistakes" not in page
    assert "<summary>30 classes" in page


def test_a_thumbnail_is_a_small_upright_jpeg_or_nothing(tmp_path: Path) -> None:
    path, broken = tmp_path / "a.jpg", tmp_path / "b.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (800, 400), (200, 30, 30)).save(path, exif=exif)
    broken.write_bytes(b"nothing")

    drawn = draw_thumbnail(str(path))

    assert drawn is not None
    with Image.open(io.BytesIO(base64.b64decode(drawn.removeprefix("data:image/jpeg;base64,")))) as picture:
        assert picture.size == (SIDE_PX // 2, SIDE_PX)
    assert draw_thumbnail(str(broken)) is None
    assert draw_thumbnail(str(tmp_path / "gone.jpg")) is None
