"""A comparison as a run would have left it, with every figure settable."""

from bench.ceiling import Ceiling
from bench.records import LARGE, SMALL, Comparison, MemorySample, ModelCount, Participant, Run, Step

ENVIRONMENT = {
    "command": "python -m bench.compare",
    "date": "2026-01-01T00:00:00+00:00",
    "machine": {"cpu": "Some CPU", "cores": 2, "memory_bytes": 8_000_000_000, "system": "Linux x86_64"},
    "versions": {"python": "3.11.0"},
    "commit": "0123456789abcdef",
}
CEILING = Ceiling(
    images_per_s=100.0,
    large_images_per_s=10.0,
    lone_p50_ms=10.0,
    prepare_per_s=300.0,
    tutorial_prepare_per_s=150.0,
    large_prepare_per_s=40.0,
    large_tutorial_prepare_per_s=10.0,
)


def make_run(server: str = "lightbox", level: float = 16, images_per_s: float = 100.0, **figures: object) -> Run:
    described = {
        "workers": 1,
        "photographs": SMALL,
        "loop": "closed",
        "round": 0,
        "p50_ms": 11.0,
        "p99_ms": 20.0,
        "failed": 0,
        "memory_bytes": 200_000_000,
        **figures,
    }
    return Run(server=server, level=level, images_per_s=images_per_s, **described)  # type: ignore[arg-type]


def make_open_run(level: float, goodput_per_s: float, server: str = "lightbox", **figures: object) -> Run:
    offered_per_s = 100.0 * level
    return make_run(
        server,
        level,
        goodput_per_s,
        **{"loop": "open", "goodput_per_s": goodput_per_s, "offered_per_s": offered_per_s, "requests": 500, **figures},
    )


def make_comparison(**changes: object) -> Comparison:
    described: dict[str, object] = {
        "environment": ENVIRONMENT,
        "plan": {"rounds": 1, "seconds": 5},
        "target_ms": 1000.0,
        "participants": (
            Participant("lightbox", "Lightbox", "lightbox", 2.0, 16, 16, 0.0),
            Participant("fastapi_openvino", "FastAPI, a thread a request", "unbatched", 1.0, 16, 16, 0.001),
            Participant("triton", "Triton", "batching", unavailable="could not be installed: no wheel | none"),
        ),
        "ceilings": (CEILING,),
        "runs": (
            *(make_run(level=level) for level in (1, 2, 16, 64)),
            *(make_run(level=level, workers=2, images_per_s=90.0) for level in (16, 64)),
            *(make_run("fastapi_openvino", level, 80.0) for level in (1, 16, 64)),
            make_run(level=16, images_per_s=9.0, photographs=LARGE),
            make_open_run(0.8, 80.0),
            make_open_run(4.0, 98.0, refused=300, refused_p99_ms=5.0),
        ),
        "steps": (Step(90.0, 700, 0, 0, 50.0, 40.0),),
        "model_counts": (ModelCount(1, 2.0, 200_000_000, 99.0), ModelCount(3, 4.0, 300_000_000, 99.0)),
        "memory_samples": tuple(MemorySample(60.0 * minute, 400_000_000) for minute in range(10)),
    }
    return Comparison(**{**described, **changes})  # type: ignore[arg-type]
