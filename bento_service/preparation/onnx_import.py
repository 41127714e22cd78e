"""Bring an ONNX file in from outside: inspect it, wrap it like our graphs, measure it. Nothing of it runs in this process.

Each step reads the file in a child process with limits (`confinement`); docs/adr/0034-files-from-outside.md says why.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bento_service.domain.models import InputRecipe, ModelCard, Parity, ScoreKind
from bento_service.preparation.inspection import GraphFacts, GraphHints


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxImport:
    """What a source found out about an ONNX file that is to be imported.

    `recipe.channel_count` must be the graph's, and its size the graph's where that is fixed. A graph that takes uint8
    normalises inside: its recipe has `presets.BYTES`. `score_kind` is what the scores are meant to be: Softmax or
    Sigmoid is added where the graph does not end in it.

    `reference` is the f32 original of a quantised file, which parity is then measured against. `allow_inexact` imports
    a file that fails the parity gate; the gate then decides for each engine when it is served.
    """

    path: Path
    name: str
    labels: tuple[str, ...]
    recipe: InputRecipe
    source: str
    licence: str
    score_kind: ScoreKind = "softmax"
    found_in: Mapping[str, str] = field(default_factory=dict)
    hints: GraphHints = field(default_factory=GraphHints)
    reference: Path | None = None
    allow_inexact: bool = False


@dataclass(frozen=True, slots=True)
class PreparedOnnx:
    """A wrapped and measured model, ready for `BentoModelStore.save`. `onnx_path` is one file, to be moved."""

    card: ModelCard
    onnx_path: Path
    parities: Mapping[str, Parity]


@dataclass(frozen=True, slots=True)
class RecipeFigures:
    """How one recipe does on labelled photographs. `name` is for people: `imagenet, bgr, squash`."""

    name: str
    recipe: InputRecipe
    accuracy: float
    log_loss: float


@dataclass(frozen=True, slots=True)
class RecipeCheck:
    """The candidates, best first (by log loss), and how many photographs of the folder were used."""

    figures: tuple[RecipeFigures, ...]
    used: int
    found: int


def inspect_onnx(path: Path, hints: GraphHints | None = None) -> GraphFacts:
    """Say what an ONNX file is, or the one in a folder (external data beside it). Takes about two seconds.

    Raises:
        ModelLoadError: It is no image classifier, needs a hint (the message names the flag), or is refused as hostile.
    """
    raise NotImplementedError


def prepare_onnx(request: OnnxImport, folder: Path, announce: Callable[[str], None]) -> PreparedOnnx:
    """Wrap a file, check that it answers, and measure parity and memory; `folder` is for its files, and the caller's.

    A file that is a graph of Lightbox's own already (`GraphFacts.is_wrapped`) is kept as it is, so that an export
    imports to the same version. `announce` is called with each step, as a short phrase.

    Raises:
        ModelLoadError: As `inspect_onnx`; or labels, recipe and graph contradict each other; or it fails the parity
            gate, with the figures.
    """
    raise NotImplementedError


def check_recipes(
    path: Path,
    photographs: Path,
    labels: Sequence[str],
    recipe: InputRecipe,
    *,
    score_kind: ScoreKind = "softmax",
    hints: GraphHints | None = None,
) -> RecipeCheck:
    """Try normalisations, RGB and BGR, and fits on labelled photographs: a subfolder a class, named by label or id.

    Candidates have the size, interpolation and crop fraction of `recipe`, which is one of them. A grey or normalising
    (uint8) graph is tried with what is left to vary.

    Raises:
        ModelLoadError: As `inspect_onnx`; or a subfolder is no label, or has no photograph that can be read.
    """
    raise NotImplementedError
