"""The served models: `/v1/models`."""

from pydantic import Field

from lightbox_client.contract.answers import ModelRef
from lightbox_client.contract.wire import WireModel


class InputSize(WireModel):
    """The size of a model's input, in pixels."""

    width: int
    height: int


class Parity(WireModel):
    """The difference to f32 PyTorch on timm's evaluation transform, over `crops` photographs."""

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


class ModelList(WireModel):
    """The served models, in the order of the settings."""

    models: list[ModelCard]


class Labels(WireModel):
    """A model's labels by class_id."""

    model: ModelRef
    labels: list[str]
