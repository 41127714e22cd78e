"""The board's rows and panels. A meaning has the same colour on all panels and on the dashboard."""

from dashboard.charts.palette import BLUE, GREEN, GREY, ORANGE, OUTCOMES, PERCENTILES, PURPLE, SKY, STAGES, VERMILLION
from deploy.grafana.panels import Panel, Query

_ON = 'instance=~"$instance"'
_OF = f'{_ON}, model=~"$model"'
_STAGED = f'{_OF}, stage!="total"'
_CALLS = f'{_ON}, route=~"/v1/classify.*|/v1/explain|/classify"'
_FAILURES = "/^(inference_failed|internal_error)$/"
_IMAGES = "suffix: img/s"
_RATE = "[$__rate_interval]"
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_TARGET = Query(f"max(lightbox_target_p99_seconds{{{_ON}}})", "target")


def _rate(series: str, labels: str = _ON, *, by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({series}{{{labels}}}{_RATE}))"


def _share(part: str, whole: str) -> str:
    # 0 / 0 is NaN, and an idle service has no errors.
    return f"({part} / {whole}) >= 0 or vector(0)"


def _quantile(quantile: float, labels: str, *, by: str = "") -> str:
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, {_rate('lightbox_stage_seconds_bucket', labels, by=grouped)})"


def _stat(title: str, description: str, expr: str, unit: str, steps: list[tuple[float, str]]) -> Panel:
    return Panel(title, description, [Query(expr)], unit, kind="stat", width=4, height=4, steps=steps)


def _glance() -> list[Panel]:
    errors, calls = (
        _rate("lightbox_http_requests_total", f'{_CALLS}, status=~"5.."'),
        _rate("lightbox_http_requests_total", _CALLS),
    )
    shed, asked = _rate("lightbox_shed_total"), _rate("lightbox_requests_total")
    p99 = _quantile(0.99, f'{_OF}, stage="total"')
    return [
        _stat(
            "Images answered",
            "Images answered a second, by the engine or from the cache.",
            _rate("lightbox_requests_total", f'{_OF}, outcome="ok"'),
            _IMAGES,
            [(0, BLUE)],
        ),
        _stat(
            "p99 / target",
            "The p99 of answers as a share of the latency target.",
            f"{p99} / scalar({_TARGET.expr})",
            "percentunit",
            [(0, GREEN), (0.8, ORANGE), (1, VERMILLION)],
        ),
        _stat(
            "Server errors",
            "Share of the requests to classify that ended in a 5xx.",
            _share(errors, calls),
            "percentunit",
            [(0, GREEN), (0.001, ORANGE), (0.01, VERMILLION)],
        ),
        _stat(
            "Rejected",
            "Share of the images rejected for overload (429).",
            _share(shed, asked),
            "percentunit",
            [(0, GREEN), (0.001, ORANGE), (0.05, VERMILLION)],
        ),
        _stat(
            "Workers missing",
            "Configured worker processes that are not ready, over all replicas.",
            f"sum(lightbox_workers{{{_ON}}}) - sum(lightbox_workers_ready{{{_ON}}})",
            "short",
            [(0, GREEN), (1, VERMILLION)],
        ),
        _stat(
            "Alerts firing",
            "Lightbox's firing alerts, of all replicas; docs/operations.md says what to do about each.",
            'count(ALERTS{alertname=~"Lightbox.*", alertstate="firing"}) or vector(0)',
            "short",
            [(0, GREEN), (1, VERMILLION)],
        ),
    ]


def _requests() -> list[Panel]:
    total = f'{_OF}, stage="total"'
    return [
        Panel(
            "Images by outcome",
            "Images a second: ok, or the code of the error.",
            [Query(_rate("lightbox_requests_total", _OF, by="outcome"), "{{outcome}}")],
            _IMAGES,
            is_stacked=True,
            colours={
                "ok": OUTCOMES["computed"],
                "overloaded": OUTCOMES["rejected (overload)"],
                _FAILURES: OUTCOMES["failures"],
            },
        ),
        Panel(
            "Time to an answer",
            "From a request's headers to its answer, for computed answers, against the latency target.",
            [*(Query(_quantile(value, total), name) for name, value in _QUANTILES.items()), _TARGET],
            "s",
            colours={**PERCENTILES, "target": GREY},
            dashed=["target"],
        ),
        Panel(
            "HTTP requests to classify by status",
            "Requests a second. A batch request is one, however many images it holds.",
            [Query(_rate("lightbox_http_requests_total", _CALLS, by="status"), "{{status}}")],
            "reqps",
            is_stacked=True,
            colours={"/^2/": BLUE, "/^4(?!29)/": PURPLE, "429": ORANGE, "/^5/": VERMILLION},
        ),
        Panel(
            "Rejected by reason",
            "Images a second rejected for overload: over the target or the client's own deadline, queue full, too "
            "many requests still arriving, or request bodies over the memory limit.",
            [Query(_rate("lightbox_shed_total", by="reason"), "{{reason}}")],
            _IMAGES,
            is_stacked=True,
            colours={"target": ORANGE, "deadline": GREY, "queue_full": VERMILLION, "receiving": PURPLE, "memory": SKY},
        ),
    ]


def _runner() -> list[Panel]:
    queue = f'{_OF}, stage="queue"'
    mean = f"{_rate('lightbox_stage_seconds_sum', _STAGED, by='stage')} / " + _rate(
        "lightbox_stage_seconds_count", _STAGED, by="stage"
    )
    return [
        Panel(
            "Mean time by stage",
            "Mean duration of each stage. Receive depends on the clients' network; queue grows with load.",
            [Query(mean, "{{stage}}")],
            "s",
            is_stacked=True,
            colours=STAGES,
        ),
        Panel(
            "p95 by stage",
            "The p95 of each stage. They do not add up to the p95 of the total.",
            [Query(_quantile(0.95, _STAGED, by="stage"), "{{stage}}")],
            "s",
            colours=STAGES,
        ),
        Panel(
            "Wait for a lane",
            "Time of images in the queue. Admission rejects images whose predicted wait is too long.",
            [Query(_quantile(value, queue), name) for name, value in _QUANTILES.items()],
            "s",
            colours=PERCENTILES,
        ),
        Panel(
            "Images in the queue",
            "Admitted and not yet answered, uploads and cache look-ups included, by replica; the limit of all queues.",
            [
                Query(f"sum by (instance) (lightbox_queue_depth_images{{{_ON}}})", "{{instance}}"),
                Query(f"sum(lightbox_max_queue_images{{{_ON}}})", "limit"),
            ],
            "short",
            colours={"limit": GREY},
            dashed=["limit"],
        ),
        Panel(
            "Batch sizes",
            "Images by the size of their batch: 1 while idle, larger under load.",
            [Query(f"sum by (le) (increase(lightbox_batch_size_images_bucket{{{_OF}}}{_RATE}))", "{{le}}")],
            "short",
            kind="heatmap",
        ),
        Panel(
            "Batches by reason",
            "Answered images by reason: a lane was free, a backlog waited, a batch was held to grow, it ran again "
            "after a failure (bisected, shrunk, recovered), or the cache answered.",
            [Query(_rate("lightbox_dispatch_total", by="reason"), "{{reason}}")],
            _IMAGES,
            is_stacked=True,
            colours={
                "lane_free": GREEN,
                "backlog": BLUE,
                "held": SKY,
                "cached": GREY,
                "bisected": VERMILLION,
                "shrunk": ORANGE,
                "recovered": PURPLE,
            },
        ),
    ]


def _workers() -> list[Panel]:
    return [
        Panel(
            "Workers ready",
            "Ready workers of each replica, and the configured number of all.",
            [
                Query(f"sum by (instance) (lightbox_workers_ready{{{_ON}}})", "{{instance}}"),
                Query(f"sum(lightbox_workers{{{_ON}}})", "configured"),
            ],
            "short",
            is_stacked=True,
            colours={"configured": GREY},
            dashed=["configured"],
        ),
        Panel(
            "Restarts and lost lanes",
            "Workers started, lanes that died and were replaced, batches that ran out of memory.",
            [
                Query(f"sum(increase(lightbox_worker_starts_total{{{_ON}}}{_RATE}))", "worker starts"),
                Query(f"sum(increase(lightbox_lanes_lost_total{{{_ON}}}{_RATE}))", "lanes lost"),
                Query(f"sum(increase(lightbox_out_of_memory_total{{{_ON}}}{_RATE}))", "out of memory"),
            ],
            "short",
            colours={"worker starts": BLUE, "lanes lost": VERMILLION, "out of memory": ORANGE},
        ),
        Panel(
            "Versions by state",
            "Workers by the state in which they have a version. FAILED: it cannot be loaded; what answered goes on.",
            [
                Query(
                    f"sum by (model, version, state) (lightbox_model_version_workers{{{_OF}}}) > 0",
                    "{{model}}:{{version}} {{state}}",
                )
            ],
            "short",
            colours={"/ FAILED$/": VERMILLION},
            width=24,
        ),
    ]


def _stores() -> list[Panel]:
    return [
        Panel(
            "Cache by result",
            "Images a second: from the cache, from an identical request in flight, or computed.",
            [Query(_rate("lightbox_cache_requests_total", by="result"), "{{result}}")],
            _IMAGES,
            is_stacked=True,
            colours={"hit": GREEN, "shared": SKY, "miss": ORANGE},
            width=8,
        ),
        Panel(
            "Cache in memory",
            "Size of the results in the workers' memory; 0 where Redis is the only cache.",
            [Query(f"sum by (instance) (lightbox_cache_bytes{{{_ON}}})", "{{instance}}")],
            "bytes",
            width=8,
        ),
        Panel(
            "Cache failures",
            "Failed Redis operations a second. While it is down, it is tried about twice a minute.",
            [Query(_rate("lightbox_cache_failures_total", by="operation"), "{{operation}}")],
            "ops",
            colours={"read": VERMILLION, "write": ORANGE, "busy": SKY, "refused_write": PURPLE},
            width=8,
        ),
        Panel(
            "Journal rows",
            "Receipts stored and lost a second.",
            [
                Query(_rate("lightbox_journal_rows_written_total"), "written"),
                Query(_rate("lightbox_journal_rows_dropped_total"), "dropped"),
            ],
            "wps",
            colours={"written": BLUE, "dropped": VERMILLION},
        ),
        Panel(
            "Waiting receipts",
            "In memory, by replica; more than the limit are dropped. Above a second's worth, the database lags.",
            [
                Query(f"sum by (instance) (lightbox_journal_waiting_rows{{{_ON}}})", "{{instance}}"),
                Query(f"sum(lightbox_journal_buffer_rows{{{_ON}}})", "limit"),
            ],
            "short",
            colours={"limit": GREY},
            dashed=["limit"],
        ),
    ]


def build_rows() -> dict[str, list[Panel]]:
    """Return the board's panels by the title of their row."""
    return {
        "At a glance": _glance(),
        "Requests": _requests(),
        "The runner": _runner(),
        "Workers": _workers(),
        "Cache and journal": _stores(),
    }
