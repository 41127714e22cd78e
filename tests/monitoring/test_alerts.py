"""Each alert fires when it should, and is silent when it should be: Prometheus's own rule engine decides."""

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
"""When the alerts are looked at, since the epoch, as Prometheus's rule engine begins there."""
REPLICA = 'job="lightbox",instance="10.0.0.2:3000"'
SECOND_REPLICA = 'job="lightbox",instance="10.0.0.3:3000"'
SECOND_INSTALLATION = 'job="lightbox-staging",instance="10.0.1.2:3000"'

Series = Mapping[str, str]


def steady(value: float) -> str:
    return f"{value}+0x{SAMPLES}"


def rising(a_second: float) -> str:
    return f"0+{a_second * INTERVAL_S}x{SAMPLES}"


def rising_at_the_end(a_second: float, for_s: int) -> str:
    """Nothing at first, then so many a second in the last `for_s` seconds before the alerts are looked at."""
    last = for_s // INTERVAL_S
    return f"0+0x{SAMPLES - last} {a_second * INTERVAL_S}+{a_second * INTERVAL_S}x{last}"


def durations(stage: str, *, at_most_s: str, a_second: float = 10) -> Series:
    """Answers that all took between the bound before `at_most_s` and it."""
    bounds = ["0.25", "0.5", "1.0", "2.5", "+Inf"]
    reached = bounds.index(at_most_s)
    name, labels = "lightbox_stage_seconds", f'model="a",stage="{stage}"'
    counts = [rising(a_second) if place >= reached else steady(0) for place in range(len(bounds))]
    buckets = {f'{name}_bucket{{{labels},le="{bound}"}}': count for bound, count in zip(bounds, counts, strict=True)}
    return {**buckets, f"{name}_count{{{labels}}}": rising(a_second)}


CLASSIFY = 'lightbox_http_requests_total{route="/v1/classify",method="POST"'
HEALTHY: Series = {
    "up": steady(1),
    "lightbox_workers": steady(2),
    "lightbox_workers_ready": steady(2),
    "lightbox_worker_starts_total": steady(2),
    "lightbox_start_time_seconds": steady(-86_400),
    "lightbox_target_p99_seconds": steady(1),
    "lightbox_max_queue_images": steady(1000),
    "lightbox_queue_depth_images": steady(3),
    'lightbox_requests_total{model="a",outcome="ok"}': rising(10),
    'lightbox_requests_total{model="a",outcome="inference_failed"}': steady(0),
    'lightbox_shed_total{reason="target"}': steady(0),
    'lightbox_shed_total{reason="deadline"}': steady(0),
    f'{CLASSIFY},status="200"}}': rising(10),
    **durations("total", at_most_s="0.5"),
    **durations("queue", at_most_s="0.25"),
    "lightbox_journal_rows_written_total": rising(10),
    "lightbox_journal_rows_dropped_total": steady(0),
    "lightbox_journal_waiting_rows": steady(5),
    "lightbox_journal_buffer_rows": steady(40_000),
    'lightbox_cache_failures_total{operation="read"}': steady(0),
    'lightbox_cache_failures_total{operation="busy"}': steady(0),
}

FIRING: list[tuple[str, Series, set[str]]] = [
    ("one request of fifty gets a 5xx", {f'{CLASSIFY},status="500"}}': rising(0.2)}, {"LightboxErrorRate"}),
    (
        "the engine fails on one image of fifty",
        {'lightbox_requests_total{model="a",outcome="inference_failed"}': rising(0.2)},
        {"LightboxInferenceFailing"},
    ),
    ("answers take longer than the target", durations("total", at_most_s="2.5"), {"LightboxLatencyOverTarget"}),
    ("a tenth is refused for load", {'lightbox_shed_total{reason="target"}': rising(1)}, {"LightboxShedding"}),
    ("images wait over half the target", durations("queue", at_most_s="1.0"), {"LightboxQueueWaitLong"}),
    ("the queue is nearly full", {"lightbox_queue_depth_images": steady(900)}, {"LightboxQueueNearlyFull"}),
    ("a worker stays away", {"lightbox_workers_ready": steady(1)}, {"LightboxWorkerLost"}),
    (
        "a replica has started for thirteen minutes",
        {"lightbox_workers_ready": steady(0), "lightbox_start_time_seconds": steady(END_S - 13 * 60)},
        {"LightboxWorkerLost"},
    ),
    ("workers keep dying", {"lightbox_worker_starts_total": f"2+1x{SAMPLES}"}, {"LightboxWorkerRestarting"}),
    (
        # Every 90 s; a container's counters begin anew each time, at what they were.
        "the container keeps dying",
        {"lightbox_start_time_seconds": " ".join(f"{90 * life}x5" for life in range(20))},
        {"LightboxWorkerRestarting"},
    ),
    (
        "a burst of 5xx is the first that there is",
        {f'{CLASSIFY},status="500"}}': f"0+0x{SAMPLES - 12} 300+0x11"},
        {"LightboxErrorRate"},
    ),
    ("no replica answers", {"up": steady(0)}, {"LightboxDown", "LightboxTargetDown"}),
    ("no replica is found", {"up": f"_x{SAMPLES}"}, {"LightboxDown"}),
    ("no replica is found any more", {"up": f"1+0x{SAMPLES - 12} stale"}, {"LightboxDown"}),
    ("one of two replicas does not answer", {f"up{{{SECOND_REPLICA}}}": steady(0)}, {"LightboxTargetDown"}),
    (
        "of two installations one does not answer",
        {f"up{{{SECOND_INSTALLATION}}}": steady(0)},
        {"LightboxDown", "LightboxTargetDown"},
    ),
    (
        "of two installations one is found no more",
        {f"up{{{SECOND_INSTALLATION}}}": f"1+0x{SAMPLES - 12} stale"},
        {"LightboxDown"},
    ),
    ("the journal drops receipts", {"lightbox_journal_rows_dropped_total": rising(1)}, {"LightboxJournalDropping"}),
    (
        "rows wait and none is written",
        {"lightbox_journal_rows_written_total": steady(90), "lightbox_journal_waiting_rows": rising(1)},
        {"LightboxJournalNotWritten"},
    ),
    (
        "rows are written more slowly than they come",
        {"lightbox_journal_waiting_rows": steady(30_000)},
        {"LightboxJournalNotWritten"},
    ),
    (
        "Redis is down, and asked twice a minute",
        {'lightbox_cache_failures_total{operation="read"}': rising(1 / 30)},
        {"LightboxCacheFailing"},
    ),
]

SILENT: list[tuple[str, Series]] = [
    ("all is well", {}),
    (
        "nobody asks anything",
        {
            'lightbox_requests_total{model="a",outcome="ok"}': steady(0),
            f'{CLASSIFY},status="200"}}': steady(0),
            "lightbox_journal_rows_written_total": steady(0),
            "lightbox_journal_waiting_rows": steady(0),
            **durations("total", at_most_s="0.5", a_second=0),
            **durations("queue", at_most_s="0.25", a_second=0),
        },
    ),
    ("one request of a thousand gets a 5xx", {f'{CLASSIFY},status="500"}}': rising(0.01)}),
    (
        "two of three requests get a 5xx",
        {f'{CLASSIFY},status="200"}}': rising(0.003), f'{CLASSIFY},status="500"}}': rising(0.006)},
    ),
    (
        "a probe is told that the worker loads",
        {'lightbox_http_requests_total{route="/readyz",method="GET",status="503"}': rising(10)},
    ),
    ("a few slow answers are all there are", durations("total", at_most_s="2.5", a_second=0.2)),
    ("answers take just less than the target", durations("total", at_most_s="1.0")),
    ("clients name deadlines that cannot be met", {'lightbox_shed_total{reason="deadline"}': rising(5)}),
    ("one image of a hundred is refused for load", {'lightbox_shed_total{reason="target"}': rising(0.1)}),
    ("a burst is refused for a minute", {'lightbox_shed_total{reason="target"}': rising_at_the_end(5, 60)}),
    (
        "one of two images is refused",
        {
            'lightbox_requests_total{model="a",outcome="ok"}': rising(0.01),
            'lightbox_shed_total{reason="target"}': rising(0.005),
        },
    ),
    (
        "a replica has timed its batches for eleven minutes",
        {"lightbox_workers_ready": steady(0), "lightbox_start_time_seconds": steady(END_S - 11 * 60)},
    ),
    ("one of two replicas is found no more", {f"up{{{SECOND_REPLICA}}}": f"1+0x{SAMPLES - 12} stale"}),
    ("a worker died a minute ago", {"lightbox_workers_ready": f"2+0x{SAMPLES - 4} 1+0x4"}),
    ("one worker was replaced", {"lightbox_worker_starts_total": f"2+0x{SAMPLES - 8} 3+0x8"}),
    (
        "a container was started anew",
        {
            "lightbox_worker_starts_total": f"2+0x{SAMPLES - 8} 0 2+0x8",
            "lightbox_start_time_seconds": f"-86400+0x{SAMPLES - 8} 1680+0x8",
        },
    ),
    ("the journal was written an instant too late", {"lightbox_journal_waiting_rows": f"0+0x{SAMPLES - 1} 900"}),
    ("Redis's connections are all in use", {'lightbox_cache_failures_total{operation="busy"}': rising(1)}),
    ("Redis was slow once", {'lightbox_cache_failures_total{operation="read"}': f"0+0x{SAMPLES - 20} 2+0x20"}),
]


def check(programs: Programs, folder: Path, series: Series, firing: set[str]) -> None:
    """Asserts that of all alerts these fire at the end of the series, and no other."""
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
    path = folder / "test.yml"
    path.write_text(json.dumps(test))
    run = subprocess.run([programs.promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def name_with_replica(name: str) -> str:
    if "job=" in name:
        return name
    return f"{name[:-1]},{REPLICA}}}" if name.endswith("}") else f"{name}{{{REPLICA}}}"


@pytest.mark.parametrize(("series", "firing"), [case[1:] for case in FIRING], ids=[case[0] for case in FIRING])
def test_an_alert_fires_when(series: Series, firing: set[str], programs: Programs, tmp_path: Path) -> None:
    check(programs, tmp_path, series, firing)


@pytest.mark.parametrize("series", [case[1] for case in SILENT], ids=[case[0] for case in SILENT])
def test_no_alert_fires_while(series: Series, programs: Programs, tmp_path: Path) -> None:
    check(programs, tmp_path, series, set())


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    assert {alert["alert"] for alert in read_alerts()} == set().union(*(firing for *_, firing in FIRING))
