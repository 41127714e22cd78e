import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from bento_service.load_test.bottleneck import Confidence, Limit
from bento_service.load_test.report import describe_run_line, give_verdict, list_notes, to_json, write_text
from tests.unit.load_test.reports import make_growing_step, make_report, make_step, with_limit

SLOW = 500.0


def test_the_verdict_is_the_largest_rate_that_was_kept_and_what_limits_it() -> None:
    report = make_report(make_step(50), make_step(118), make_step(150, latency_ms=SLOW))

    assert give_verdict(report) == "118 images/s at p99 ≤ 100 ms; limited by inference"


def test_where_every_rate_was_kept_the_verdict_is_a_lower_bound() -> None:
    assert give_verdict(make_report(make_step(50), make_step(60))).startswith("at least 60 images/s at p99 ≤ 100 ms")


def test_where_no_rate_was_kept_the_verdict_names_the_lowest() -> None:
    report = make_report(make_step(50, latency_ms=SLOW), make_step(8, latency_ms=SLOW))

    assert give_verdict(report).startswith("no rate kept p99 ≤ 100 ms, not even 8 images/s")


def test_where_no_rate_was_offered_the_verdict_is_the_probe() -> None:
    assert give_verdict(make_report()).startswith("100 images/s from 1 connection, and no rate was offered")


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
    report = with_limit(make_report(make_step(50), is_loopback=is_loopback), limit, confidence)

    assert give_verdict(report).endswith(f"; {words}")


def test_a_measurement_without_blemish_needs_no_note() -> None:
    assert list_notes(make_report(make_step(118), make_step(150, latency_ms=SLOW))) == []


def test_notes_say_what_a_reader_must_know() -> None:
    few = make_report(make_step(20))
    step = make_step(118)
    cached = make_report(replace(step, cached=step.answered))
    late = make_report(replace(step, is_client_bound=True))
    failing = make_report(replace(step, statuses={"200": 1178, "500": 2}, is_kept=False))
    uneven = make_report(make_step(60, latency_ms=SLOW), make_step(118))
    growing = make_report(make_step(118), make_growing_step(150))
    interrupted = replace(few, survey=replace(few.survey, is_interrupted=True))

    assert "rests on 200 requests" in list_notes(few)[0]
    assert "came from the cache" in list_notes(cached)[0]
    assert list_notes(late)[0].startswith("At 118 images/s the client was the limit")
    assert "500 (2)" in list_notes(failing)[0]
    assert list_notes(uneven)[0].startswith("Some lower rates were not kept")
    assert list_notes(growing)[0].startswith("A rate at which the queue grows is not kept: p99 is within")
    assert list_notes(interrupted)[0].startswith("Interrupted")


def test_a_narrow_terminal_still_shows_why_a_rate_was_not_kept() -> None:
    stream = io.StringIO()

    write_text(make_report(make_growing_step(120)), Console(file=stream, width=80))

    assert "not kept: the " in stream.getvalue()
    assert "…" not in stream.getvalue()


def test_json_holds_the_verdict_and_every_run_and_no_number_that_is_none() -> None:
    report = make_report(make_step(50), make_step(150, refused=100))

    document = json.loads(to_json(report), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    assert document["verdict"] == give_verdict(report)
    assert [step["refused"] for step in document["survey"]["steps"]] == [0, 100]
    assert document["survey"]["steps"][1]["p99_ms"] is None
    assert [step["not_kept_because"] for step in document["survey"]["steps"]] == [None, "100 refused"]


def test_the_text_has_a_row_a_run_by_rate_and_the_verdict_with_its_confidence() -> None:
    stream = io.StringIO()

    steps = make_step(150, refused=100), make_growing_step(120), make_step(60)
    write_text(make_report(*steps), Console(file=stream, width=200))

    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert [line.split()[0] for line in lines[:5]] == ["load", "1", "60/s", "120/s", "150/s"]
    assert lines[2].endswith(" kept")
    assert lines[3].endswith(" not kept: the queue grew by 7")
    assert lines[4].endswith(" not kept: 100 refused")
    assert describe_run_line(steps[1]) == "120 images/s offered: p99 94.2 ms, not kept: the queue grew by 7"
    assert "at least" not in stream.getvalue()
    assert "60 images/s at p99 ≤ 100 ms; limited by inference" in lines
    assert "There p99 was 20.0 ms (95 % confidence: 20.0 to 20.0) over 600 requests." in "\n".join(lines)
    assert "the decode threads were busy 44% of the time and the lanes 96%" in stream.getvalue()
