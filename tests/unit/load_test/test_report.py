import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from bento_service.load_test.report import BenchReport, describe_run_line, give_verdict, list_notes, to_json, write_text
from bento_service.load_test.survey import Bottleneck, Confidence, Limit
from tests.unit.load_test.runs import make_growing_step, make_report, make_step

SLOW = make_step(8, latency_ms=500.0), make_step(150, latency_ms=500.0)
STEP = make_step(118)


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (make_report(make_step(50), STEP, SLOW[1]), "118 images/s at p99 ≤ 100 ms; limited by inference"),
        (make_report(make_step(50), STEP), "at least 118 images/s at p99 ≤ 100 ms; limited by inference"),
        (make_report(*SLOW), "no rate kept p99 ≤ 100 ms, not even 8 images/s; limited by inference"),
        (make_report(), "100 images/s from 1 connection, and no rate was offered; limited by inference"),
    ],
)
def test_the_verdict_is_the_largest_rate_that_was_kept_and_the_limit(report: BenchReport, verdict: str) -> None:
    assert give_verdict(report) == verdict


@pytest.mark.parametrize(
    ("limit", "confidence", "is_loopback", "words"),
    [
        (Limit.DECODE, Confidence.LIKELY, True, "limited by decode (likely)"),
        (Limit.HTTP, Confidence.UNCLEAR, True, "limited by HTTP (not clear)"),
        (Limit.HTTP, Confidence.LIKELY, False, "limited by HTTP or the network (likely)"),
        (Limit.CLIENT, Confidence.CLEAR, True, "limited by the client"),
        (Limit.UNKNOWN, Confidence.UNCLEAR, True, "what limits it cannot be told, for the answers carry no timings"),
    ],
)
def test_the_verdict_says_how_sure_the_limit_is(
    limit: Limit, confidence: Confidence, is_loopback: bool, words: str
) -> None:
    report = make_report(STEP, is_loopback=is_loopback, bottleneck=Bottleneck(limit, confidence))

    assert give_verdict(report).endswith(f"; {words}")


@pytest.mark.parametrize(
    ("report", "note"),
    [
        (make_report(make_step(20)), "The p99 at that rate rests on 200 requests"),
        (make_report(replace(STEP, cached=STEP.answered)), "94% of the answers came from the cache"),
        (make_report(replace(STEP, is_client_bound=True)), "At 118 images/s the client was the limit"),
        (make_report(replace(STEP, statuses={"200": 1178, "500": 2})), "Some requests failed: 500 (2)."),
        (make_report(make_step(60, latency_ms=500.0), STEP), "Some lower rates were not kept"),
        (make_report(STEP, make_growing_step(150)), "A rate at which the queue grows is not kept: p99 is within"),
        (make_report(STEP, is_interrupted=True), "Interrupted"),
    ],
)
def test_a_note_says_what_a_reader_must_know(report: BenchReport, note: str) -> None:
    (only,) = list_notes(report)

    assert only.startswith(note)


def test_a_measurement_without_reservations_has_no_note() -> None:
    assert list_notes(make_report(STEP, SLOW[1])) == []


def test_json_holds_the_verdict_and_every_run_and_neither_nan_nor_infinity() -> None:
    report = make_report(make_step(50), make_step(150, refused=100))

    document = json.loads(to_json(report), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    assert document["verdict"] == give_verdict(report)
    steps = document["survey"]["steps"]
    assert [step["refused"] for step in steps] == [0, 100]
    assert steps[1]["p99_ms"] is None
    assert [step["not_kept_because"] for step in steps] == [None, "100 refused"]


def write(report: BenchReport, width: int) -> list[str]:
    stream = io.StringIO()
    write_text(report, Console(file=stream, width=width))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_the_text_has_a_row_for_each_run_by_rate_and_the_verdict_with_its_confidence() -> None:
    steps = make_step(150, refused=100), make_growing_step(120), make_step(60)

    lines = write(make_report(*steps), width=200)

    assert [line.split()[0] for line in lines[:5]] == ["load", "1", "60/s", "120/s", "150/s"]
    assert lines[2].endswith(" kept")
    assert lines[3].endswith(" not kept: the queue grew by 7")
    assert lines[4].endswith(" not kept: 100 refused")
    assert describe_run_line(steps[1]) == "120 images/s offered: p99 94.2 ms, not kept: the queue grew by 7"
    assert lines[6:9] == [
        "60 images/s at p99 ≤ 100 ms; limited by inference",
        "There p99 was 20.0 ms (95 % confidence: 20.0 to 20.0) over 600 requests.",
        "At capacity the decode threads were busy 44% of the time and the lanes 96%; of a lone request's time, 1.4 ms "
        "were HTTP.",
    ]


def test_a_narrow_terminal_still_shows_why_a_rate_was_not_kept() -> None:
    shown = "".join(write(make_report(make_growing_step(120)), width=80))

    assert "not kept: the " in shown
    assert "…" not in shown
