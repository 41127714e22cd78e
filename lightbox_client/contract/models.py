"""The served models: `/v1/models`."""

from pydantic import Field

from lightbox_client.contract.answers import SCORE_KIND, ModelRef
from lightbox_client.contract.registry import CanaryState, ShadowState, VersionState
from lightbox_client.contract.wire import WireModel


class InputSize(WireModel):
    """The size of a model's input, in pixels."""

    width: int
    height: int


class Parity(WireModel):
    """The difference to a reference over `crops` photographs: f32 PyTorch, or ONNX Runtime in f32 for an ONNX file."""

    crops: int
    top1_agreement: float
    max_probability_difference: float


class DeviceInfo(WireModel):
    """The hardware that an engine runs on."""

    kind: str
    name: str
    memory_bytes: int
    cores: int


class ModelCard(WireModel):
    """A served model: its source, its licence, its input and the engine that runs it."""

    name: str
    version: str
    is_default: bool
    labels_count: int
    input_size: InputSize
    source: str
    licence: str
    engine: str
    precision: str
    state: str
    device: DeviceInfo | None = None
    parity: Parity | None = None
    crop_fraction: float | None = Field(
        default=None, description="Share of the resized image's short side that the centre crop keeps."
    )
    fit: str = Field(
        default="crop",
        description="How an image is brought to the model's size: `crop` cuts the centre out, `squash` resizes both "
        "sides whatever the aspect, `letterbox` fills the rest with `pad_value`.",
    )
    pad_value: int = Field(default=0, description="The grey of a letterbox's border, 0-255.")
    interpolation: str | None = Field(
        default=None, description="The filter of the resize: `nearest`, `box`, `bilinear`, `bicubic` or `lanczos`."
    )
    is_antialiased: bool = Field(
        default=True,
        description="Whether the resize averages all pixels of a larger image, as Pillow does. Otherwise it is that of "
        "OpenCV, which counts a fixed number of pixels.",
    )
    channels: str = Field(
        default="rgb", description="What the model was trained on: `rgb`, `bgr` or `grey`. Any image may be sent."
    )
    score_kind: str = Field(default="softmax", description=SCORE_KIND)
    max_batch: int | None = Field(default=None, description="The largest batch of the model's graph; null for any.")
    found_in: dict[str, str] = Field(
        default={}, description="Where an import found labels, recipe and activation; empty for other models."
    )
    aliases: dict[str, str] = Field(default={}, description="Version by alias; `champion` answers to the bare name.")
    versions: list[VersionState] = Field(default=[], description="The versions that the worker that answers has.")
    canary: CanaryState | None = None
    shadow: ShadowState | None = None


class UnservedModel(WireModel):
    """A model that is wanted and has no version that could answer, in the worker that was asked."""

    name: str
    state: str = Field(description="LOADING, FAILED or UNLOADING.")
    reason: str = Field(default="", description="Why it is FAILED.")


class ModelList(WireModel):
    """The served models, in the order of the settings; then those that are wanted and not served."""

    models: list[ModelCard]
    not_served: list[UnservedModel] = Field(default=[], description="Wanted models that are loading or have failed.")


class Labels(WireModel):
    """A model's labels by class_id."""

    model: ModelRef
    labels: list[str]
