"""Every setting of the service: default, limits, description. Each is an environment variable `LIGHTBOX_<NAME>`."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bento_service.machine import choose_workers, count_cpus
from lightbox_client.variables import strip_values

BENTO_PATH = "BENTO_PATH"
"""The variable of the path of a container's bento; BentoML serves its models."""
SERVER_STOP_S = 3.0
"""Longest time in which the HTTP server closes its connections, after the drain."""
LANES_STOP_S = 5.0
"""Longest wait for the batches that still run, after that."""
CACHE_CLOSE_S = 2.0
"""Longest wait for the cache's store to close, after that."""
JOURNAL_CLOSE_S = 10.0
"""Longest wait for the journal's last write, after that."""
_ORIGIN = re.compile(
    r"(?!http://.*:80$|https://.*:443$)[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?"
)
_Names = Annotated[tuple[str, ...], NoDecode]
_Concurrency = Annotated[int, Field(ge=1, le=64)]
_Port = Annotated[int, Field(ge=1, le=65_535)]


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address means this machine: `localhost`, 127.0.0.0/8 or `::1`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost" or host.rstrip(".").lower().endswith(".localhost")


class Settings(BaseSettings):
    """The operator's choices. A value outside its limits is refused at start, with the name of its variable."""

    # Without the prefix, `populate_by_name` would read variables of the plain field names too, such as `PORT`.
    model_config = SettingsConfigDict(
        env_prefix="LIGHTBOX_",
        alias_generator=lambda name: f"LIGHTBOX_{name.upper()}",
        populate_by_name=True,
        # Compose passes a variable that is not set as an empty one.
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        # Invalid input is printed at start, and may hold the journal's password.
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    models: _Names = Field(
        default=("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
        min_length=1,
        description="Models to serve, separated by commas: a bundled name, `timm/<name>`, `torchvision/<name>`, or an "
        "imported model's name; `name:version` is one version of it.",
    )
    default_model: str | None = Field(
        default=None, description="The model that answers when a request names none; the first of `models` if unset."
    )
    engine: Literal["auto", "openvino", "onnxruntime", "torch"] = Field(
        default="auto",
        description="Library that runs every model; a model that it cannot run ends the start. `auto` chooses for each "
        "model: on a CUDA GPU PyTorch, if the model has a torch program, else ONNX Runtime, if that is "
        "`onnxruntime-gpu`; everywhere else OpenVINO.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="Device that every model runs on; `auto` takes a CUDA GPU for each model that can run there.",
    )
    precision: Literal["auto", "f32", "fp16", "bf16"] = Field(
        default="auto",
        description="Arithmetic of PyTorch on a GPU; `auto` takes the fastest that passes the parity gate.",
    )
    torch_compile: bool = Field(
        default=False,
        description="Compile the models with torch.compile on a GPU: a longer start, faster batches. Needs a C "
        "compiler, which the image does not have: there a warning is logged and nothing is compiled.",
    )
    workers: _Concurrency | None = Field(
        default=None, description="Worker processes, each with its own models; one for every eight CPUs if unset."
    )
    lanes: _Concurrency | None = Field(
        default=None, description="Batches that each worker runs at the same time; chosen from the hardware if unset."
    )
    decode_threads: _Concurrency | None = Field(
        default=None, description="Threads of each worker that decode images; chosen from the hardware if unset."
    )
    target_p99_ms: float = Field(
        default=1000.0,
        gt=0,
        le=60_000,
        description="Latency target; a request whose predicted wait is more than seven tenths of it is rejected (429).",
    )
    cache_bytes: int = Field(
        default=16_000_000,
        ge=0,
        description="Memory of each worker for cached results, in bytes; 0 switches the cache off.",
    )
    cache_url: SecretStr | None = Field(
        default=None, description="Redis (`redis://…`) that all workers share as their cache; memory only if unset."
    )
    max_queue_items: int = Field(
        default=512,
        ge=1,
        le=65_536,
        description="Images that each worker may have in decoding, in the queue and on lanes; more are rejected (429).",
    )
    max_receiving_requests: int = Field(
        default=4096,
        ge=1,
        le=65_536,
        description="Requests of each worker whose image is still arriving, at most; more are rejected (429).",
    )
    max_image_bytes: int = Field(default=20_000_000, ge=1, description="Largest encoded image, in bytes.")
    max_pixels: int = Field(default=50_000_000, ge=1, description="Largest image, in pixels, read from its header.")
    scaled_decoding: bool = Field(
        default=False,
        description="Scale JPEGs that are far larger than the model's input while decoding them: a fifth to a quarter "
        "less time, but scores move by up to 0.03, and the best class may change. Such answers have the warning "
        "`scaled_decoding`.",
    )
    allow_inexact: bool = Field(
        default=False,
        description="Also serve models that failed the parity gate when they were prepared: the best class agrees on "
        "less than 99.5 %, or a probability moves by more than 0.02. Their answers have the warning `inexact_model`.",
    )
    max_images: int = Field(default=64, ge=1, le=1024, description="Most images in one batch request.")
    max_request_bytes: int = Field(default=256_000_000, ge=1, description="Largest batch request, in bytes.")
    max_inflight_bytes: int = Field(
        default=512_000_000, ge=1, description="Request bodies that each worker holds in memory at once, in bytes."
    )
    receive_timeout_s: float = Field(
        default=30.0, gt=0, le=600, description="Longest time that a client may take to send one request, in seconds."
    )
    drain_timeout_s: float = Field(
        default=30.0,
        ge=0,
        le=600,
        description="Longest time that a stopping worker waits for admitted work, in seconds.",
    )
    model_control: Literal["fixed", "explicit"] = Field(
        default="fixed",
        description="`fixed` serves what the settings name, nothing else. `explicit` lets the API load, unload, "
        "promote and roll back versions, on all workers and replicas that share the journal's database.",
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Let everyone who reaches the port change what is served: needed for `explicit` where `host` is "
        "not this machine alone, as in a container, as long as there are no API keys.",
    )
    cors_origins: _Names = Field(
        default=(),
        description="Origins whose web pages may call the service (CORS), separated by commas: "
        "`https://app.example.org`, or `*` for every page that a user of the service opens. Off if unset.",
    )
    data_dir: Path = Field(
        default_factory=lambda: Path.home() / ".lightbox",
        description="Folder for the journal's SQLite file, and for the batch durations that the next start need not "
        "measure again.",
    )
    model_store: Path | None = Field(
        default=None,
        description="Folder with more models, laid out as BentoML's model store. Imports are written to it. Of a name "
        "in both stores, the version that was stored last counts.",
    )
    heartbeat_dir: Path | None = Field(
        default=None,
        description="Folder in which the workers share their status and their Prometheus series, and where a "
        "container's health check looks for them; the system's folder for temporary files if unset.",
    )
    journal_url: SecretStr | None = Field(
        default=None,
        description="Journal database (`sqlite:///…`, `postgresql://…` with the password percent-encoded); SQLite in "
        "`data_dir` if unset.",
    )
    journal_retention_days: float = Field(
        default=30.0,
        gt=0,
        le=36_500,
        description="Days that single receipts are kept, at most 36,500; history by the hour stays for 400 days.",
    )
    journal_max_rows: int = Field(
        default=5_000_000,
        ge=1_000,
        le=1_000_000_000,
        description="Single receipts kept, at most; the oldest are deleted first. Of images that were refused unread, "
        "each worker keeps at most 10 receipts a second; history counts every one.",
    )
    journal_buffer_rows: int = Field(
        default=20_000,
        ge=1,
        le=10_000_000,
        description="Receipts waiting to be written, at most; more are dropped and counted.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe message that a worker logs."
    )
    host: str = Field(default="127.0.0.1", description="Address that `lightbox serve` binds.")
    port: _Port = Field(default=3000, description="Port that `lightbox serve` binds.")
    dashboard_host: str = Field(default="127.0.0.1", description="Address that `lightbox dashboard` binds.")
    dashboard_port: _Port = Field(default=8501, description="Port that `lightbox dashboard` binds.")

    @field_validator("models", "cors_origins", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            names = (name.strip() for name in value.split(","))
            return tuple(dict.fromkeys(name for name in names if name))
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin as a browser sends it: scheme://host or scheme://host:port, in lower "
                    "case, without the scheme's own port and without a path, such as https://app.example.org"
                )
        return origins

    @model_validator(mode="after")
    def _check_default_model(self) -> "Settings":
        if self.default_model is not None and self.default_model not in self.models:
            served = ", ".join(self.models)
            raise ValueError(
                f"LIGHTBOX_DEFAULT_MODEL is {self.default_model!r}, which is not among LIGHTBOX_MODELS: {served}. "
                "Add it there or name one of these."
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _strip_values(cls, given: dict[str, object]) -> dict[str, object]:
        return strip_values(given)

    @property
    def default_model_name(self) -> str:
        """The model of requests that name none."""
        return self.default_model or self.models[0]

    @property
    def worker_count(self) -> int:
        """The number of service processes."""
        return self.workers or choose_workers(count_cpus())

    @property
    def journal_file(self) -> Path:
        """The journal's SQLite file where `journal_url` is not set."""
        return self.data_dir / "journal.sqlite3"

    @property
    def resolved_journal_url(self) -> str:
        """The journal's SQLAlchemy URL, with its password."""
        if not self.journal_url:
            return f"sqlite:///{self.journal_file}"
        return self.journal_url.get_secret_value()

    @property
    def stop_timeout_s(self) -> float:
        """The longest that a worker takes to stop by itself: to drain, then to close everything."""
        return self.drain_timeout_s + SERVER_STOP_S + LANES_STOP_S + CACHE_CLOSE_S + JOURNAL_CLOSE_S
