import csv
import io
from pathlib import Path

from bento_service.cli.classification import Classified, Outcome
from bento_service.cli.output import CsvReport, Report, TableReport
from tests.fakes import service_data

SOFTMAX = service_data.classification(top_k=2)
INDEPENDENT = SOFTMAX.model_copy(update={"score_kind": "independent"})


def write(kind: type[Report], *answers: Classified) -> str:
    stream = io.StringIO()
    report = kind(stream)
    for answer in answers:
        report.add(answer)
    report.finish()
    return stream.getvalue()


def test_a_table_says_once_which_models_scores_do_not_sum_to_one() -> None:
    independent = Outcome(Path("a.png"), INDEPENDENT)

    assert "independent" not in write(TableReport, Outcome(Path("a.png"), SOFTMAX))
    assert write(TableReport, independent, independent).splitlines()[-1] == (
        f"The scores of {INDEPENDENT.model.name} are independent: each class has its own, and they do not sum to 100%."
    )


def test_each_row_of_csv_has_the_kind_of_its_score() -> None:
    written = write(CsvReport, Outcome(Path("a.png"), SOFTMAX), Outcome(Path("b.png"), INDEPENDENT))

    assert [row["score_kind"] for row in csv.DictReader(io.StringIO(written))] == ["softmax"] * 2 + ["independent"] * 2
