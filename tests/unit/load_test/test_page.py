import re
from html.parser import HTMLParser

from bento_service.load_test.page import write_page
from bento_service.load_test.report import give_verdict
from tests.unit.load_test.runs import make_report, make_step

HOSTILE = "\"><img src=x onerror=alert(1)>'</svg><script>alert(2)</script>.jpg"


class Reader(HTMLParser):
    """Notes each element of a page with the names of its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, set[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name for name, _ in attrs}))


def test_the_page_has_the_verdict_five_plots_and_a_row_for_each_run() -> None:
    report = make_report(make_step(50), make_step(118), make_step(150, refused=200))

    page = write_page(report)

    tags = [tag for tag, _ in Reader(page).elements]
    assert give_verdict(report) in page
    assert (tags.count("svg"), tags.count("tr")) == (5, 5)
    assert "<td>kept</td>" in page
    assert "<td>not kept: 200 refused</td>" in page


def test_the_page_loads_nothing() -> None:
    page = write_page(make_report(make_step(50)))

    elements = Reader(page).elements
    assert {tag for tag, _ in elements}.isdisjoint({"script", "link", "img", "iframe", "object", "image", "use"})
    assert not any({"src", "href", "xlink:href"} & names for _, names in elements)
    assert not re.search(r"@import|url\(", page)
    assert "default-src 'none'" in page


def test_a_hostile_file_name_is_only_text() -> None:
    plain, hostile = (write_page(make_report(make_step(50), names=(name,))) for name in ("cat.jpg", HOSTILE))

    assert Reader(hostile).elements == Reader(plain).elements
    assert "&lt;script&gt;alert(2)&lt;/script&gt;.jpg" in hostile


def test_a_survey_without_a_single_answer_still_makes_a_page() -> None:
    assert "nothing was answered" in write_page(make_report(make_step(50, refused=500)))
