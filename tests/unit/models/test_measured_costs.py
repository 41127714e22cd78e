from pathlib import Path

import pytest

from bento_service.domain.runner import EngineMode
from bento_service.models.measured_costs import MeasuredCosts

DURATIONS = {EngineMode.LATENCY: {1: 5.25}, EngineMode.THROUGHPUT: {1: 10.125, 2: 1 / 3}}


def test_durations_are_found_by_the_next_start_under_the_same_conditions_only(tmp_path: Path) -> None:
    MeasuredCosts(tmp_path / "costs").keep(DURATIONS, "d5ab71aca397", "openvino 2026.4.1")
    costs = MeasuredCosts(tmp_path / "costs")

    assert costs.find("d5ab71aca397", "openvino 2026.4.1") == DURATIONS
    assert costs.find("d5ab71aca397", "openvino 2026.5.0") is None


@pytest.mark.parametrize(
    "content", ["", "{", '{"throughput": {"1": -1}}', '{"throughput": {"2": 5}}', '{"latency": {"1": 5}}']
)
def test_a_damaged_file_counts_as_missing(tmp_path: Path, content: str) -> None:
    costs = MeasuredCosts(tmp_path)
    costs.keep(DURATIONS, "version")
    (file,) = tmp_path.iterdir()
    file.write_text(content)

    assert costs.find("version") is None


def test_a_folder_that_cannot_be_written_loses_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    costs = MeasuredCosts(tmp_path / "file" / "costs")

    costs.keep(DURATIONS, "version")

    assert costs.find("version") is None
