"""Prometheus's rule engine decides which alerts fire in each situation."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.monitoring.conftest import Programs
from tests.monitoring.deployed import RULES, read_alerts

INTERVAL_S = 15
SAMPLES = 120
END_S = SAMPLES * INTERVAL_S
"""When the alerts are evaluated, in seconds since the epoch, at which the rule engine begins."""
REPLICA = 'job="lightbox",instance="10.0.0.2:3000"'
SECOND_REPLICA = 'job="lightbox",instance="10.0.0.3:3000"'
SECOND_INSTALLATION = 'job="lightbox-staging",instance="10.0.1.2:3000"'

Series = Mapping[str, str]


def steady(value: float) -> str:
    return f"{value}+0x{SAMPLES}"


def rising(a_second: float) -> str:
    return f"0+{a_second * INTERVAL_S}x{SAMPLES}"


def rising_at_the_end(a_second: float, for_s: int) -> str:
    """Zero at first, then so many a second in the last `for_s` seconds."""
    last = for_s // INTERVAL_S
    return f"0+0x{SAMPLES - last} {a_second * INTERVAL_S}+{a_second * INTERVAL_S}x{last}"


def durations(stage: str, *, at_most_s: str, a_second: float = 10) -> Series:
    """Answers that all fall into the bucket that ends at `at_most_s`."""
    bounds = ["0.25", "0.5", "1.0", "2.5", "+Inf"]
    reached = bounds.index(at_most_s)
    name, labels = "lightbox_stage_seconds", f'model="a",stage="{stage}"'
    counts = [rising(a_second) if place >= reached else steady(0) for place in range(len(bounds))]
    buckets = {f'{name}_bucket{{{labels},le="{bound}"}}': count for bound, count in zip(bounds, counts, strict=True)}
    return {**buckets, f"{name}_count{{{labels}}}": rising(a_second)}


CLASSIFY = 'lightbox_http_requests_total{route="/v1/classify",method="POST"'
ERRORS, OK = f'{CLASSIFY},status="500"}}', f'{CLASSIFY},status="200"}}'
ANSWERED = 'lightbox_requests_total{model="a",outcome="ok"}'
FAILED = 'lightbox_requests_total{model="a",outcome="inference_failed"}'
OVER_TARGET, OVER_DEADLINE = (f'lightbox_shed_total{{reason="{reason}"}}' for reason in ("target", "deadline"))
CACHE_READ, CACHE_BUSY = (f'lightbox_cache_failures_total{{operation="{each}"}}' for each in ("read", "busy"))
READY, STARTED, STARTS = "lightbox_workers_ready", "lightbox_start_time_seconds", "lightbox_worker_starts_total"
WRITTEN, WAITING = "lightbox_journal_rows_written_total", "lightbox_journal_waiting_rows"
VERSION_FAILED = 'lightbox_model_version_workers{model="a",version="1",state="FAILED"}'
VANISHING = f"1+0x{SAMPLES - 12} stale"
HEALTHY: Series = {
    "up": steady(1),
    "lightbox_workers": steady(2),
    READY: steady(2),
    STARTS: steady(2),
    VERSION_FAILED: steady(0),
    STARTED: steady(-86_400),
    "lightbox_target_p99_seconds": steady(1),
    "lightbox_max_queue_images": steady(1000),
    "lightbox_queue_depth_images": steady(3),
    ANSWERED: rising(10),
    FAILED: steady(0),
    OVER_TARGET: steady(0),
    OVER_DEADLINE: steady(0),
    OK: rising(10),
    **durations("total", at_most_s="0.5"),
    **durations("queue", at_most_s="0.25"),
    WRITTEN: rising(10),
    "lightbox_journal_rows_dropped_total": steady(0),
    WAITING: steady(5),
    "lightbox_journal_buffer_rows": steady(40_000),
    CACHE_READ: steady(0),
    CACHE_BUSY: steady(0),
}

NO_TRAFFIC = {
    **{name: steady(0) for name in (ANSWERED, OK, WRITTEN, WAITING)},
    **durations("total", at_most_s="0.5", a_second=0),
    **durations("queue", at_most_s="0.25", a_second=0),
}

CASES: list[tuple[str, Series, set[str]]] = [
    ("one request of fifty gets a 5xx", {ERRORS: rising(0.2)}, {"LightboxErrorRate"}),
    ("the first 5xx come in a burst", {ERRORS: f"0+0x{SAMPLES - 12} 300+0x11"}, {"LightboxErrorRate"}),
    ("one request of a thousand gets a 5xx", {ERRORS: rising(0.01)}, set()),
    ("two of three requests get a 5xx", {OK: rising(0.003), ERRORS: rising(0.006)}, set()),
    (
        "a probe finds a worker that loads",
        {'lightbox_http_requests_total{route="/readyz",method="GET",status="503"}': rising(10)},
        set(),
    ),
    ("the engine fails on one image of fifty", {FAILED: rising(0.2)}, {"LightboxInferenceFailing"}),
    ("answers take longer than the target", durations("total", at_most_s="2.5"), {"LightboxLatencyOverTarget"}),
    ("answers take just less than the target", durations("total", at_most_s="1.0"), set()),
    ("all answers are slow and few", durations("total", at_most_s="2.5", a_second=0.2), set()),
    ("a tenth is rejected", {OVER_TARGET: rising(1)}, {"LightboxShedding"}),
    ("one image of a hundred is rejected", {OVER_TARGET: rising(0.1)}, set()),
    ("one of two images is rejected", {ANSWERED: rising(0.01), OVER_TARGET: rising(0.005)}, set()),
    ("a burst is rejected for a minute", {OVER_TARGET: rising_at_the_end(5, 60)}, set()),
    ("clients ask for deadlines that cannot be met", {OVER_DEADLINE: rising(5)}, set()),
    ("images wait over half the target", durations("queue", at_most_s="1.0"), {"LightboxQueueWaitLong"}),
    ("the queue is nearly full", {"lightbox_queue_depth_images": steady(900)}, {"LightboxQueueNearlyFull"}),
    ("a worker stays away", {READY: steady(1)}, {"LightboxWorkerLost"}),
    ("a start lasts 13 minutes", {READY: steady(0), STARTED: steady(END_S - 13 * 60)}, {"LightboxWorkerLost"}),
    ("a start lasts 11 minutes", {READY: steady(0), STARTED: steady(END_S - 11 * 60)}, set()),
    ("a worker died a minute ago", {READY: f"2+0x{SAMPLES - 4} 1+0x4"}, set()),
    ("workers keep dying", {STARTS: f"2+1x{SAMPLES}"}, {"LightboxWorkerRestarting"}),
    # Every 90 s; a container's counters start again each time.
    ("the container keeps dying", {STARTED: " ".join(f"{90 * n}x5" for n in range(20))}, {"LightboxWorkerRestarting"}),
    ("one worker was replaced", {STARTS: f"2+0x{SAMPLES - 8} 3+0x8"}, set()),
    (
        "a container was started again",
        {STARTS: f"2+0x{SAMPLES - 8} 0 2+0x8", STARTED: f"-86400+0x{SAMPLES - 8} 1680+0x8"},
        set(),
    ),
    ("one worker could not load a version", {VERSION_FAILED: steady(1)}, {"LightboxVersionFailed"}),
    ("a version failed for a minute", {VERSION_FAILED: rising_at_the_end(1 / INTERVAL_S, 60)}, set()),
    ("no replica answers", {"up": steady(0)}, {"LightboxDown", "LightboxTargetDown"}),
    ("no replica is found", {"up": f"_x{SAMPLES}"}, {"LightboxDown"}),
    ("no replica is found any more", {"up": VANISHING}, {"LightboxDown"}),
    ("one of two replicas does not answer", {f"up{{{SECOND_REPLICA}}}": steady(0)}, {"LightboxTargetDown"}),
    ("one of two replicas is not found any more", {f"up{{{SECOND_REPLICA}}}": VANISHING}, set()),
    (
        "one of two installations does not answer",
        {f"up{{{SECOND_INSTALLATION}}}": steady(0)},
        {"LightboxDown", "LightboxTargetDown"},
    ),
    ("one of two installations is not found any more", {f"up{{{SECOND_INSTALLATION}}}": VANISHING}, {"LightboxDown"}),
    ("the journal drops receipts", {"lightbox_journal_rows_dropped_total": rising(1)}, {"LightboxJournalDropping"}),
    ("rows wait and none is written", {WRITTEN: steady(90), WAITING: rising(1)}, {"LightboxJournalNotWritten"}),
    ("rows are written too slowly", {WAITING: steady(30_000)}, {"LightboxJournalNotWritten"}),
    ("the journal was written an instant too late", {WAITING: f"0+0x{SAMPLES - 1} 900"}, set()),
    ("Redis is down, and asked twice a minute", {CACHE_READ: rising(1 / 30)}, {"LightboxCacheFailing"}),
    ("Redis's connections are all in use", {CACHE_BUSY: rising(1)}, set()),
    ("Redis was slow once", {CACHE_READ: f"0+0x{SAMPLES - 20} 2+0x20"}, set()),
    ("all is well", {}, set()),
    ("nobody asks anything", NO_TRAFFIC, set()),
]


def name_with_replica(name: str) -> str:
    if "job=" in name:
        return name
    return f"{name[:-1]},{REPLICA}}}" if name.endswith("}") else f"{name}{{{REPLICA}}}"


@pytest.mark.parametrize(("series", "firing"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_these_alerts_and_no_others_fire_when(
    series: Series, firing: set[str], programs: Programs, tmp_path: Path
) -> None:
    labelled = {name_with_replica(name): values for name, values in {**HEALTHY, **series}.items()}
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{INTERVAL_S}s",
        "tests": [
            {
                "interval": f"{INTERVAL_S}s",
                "input_series": [{"series": name, "values": values} for name, values in labelled.items()],
                "promql_expr_test": [
                    {
                        "expr": 'max by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{END_S}s",
                        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(json.dumps(test))
    run = subprocess.run([programs.promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    assert {alert["alert"] for alert in read_alerts()} == set().union(*(firing for *_, firing in CASES))
