"""The sample photographs that the Classify page offers. Their sources and licences: samples/LICENCES.md."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "samples"


@dataclass(frozen=True, slots=True)
class Sample:
    """A photograph in `FOLDER`; `credit` names its author and its licence."""

    name: str
    title: str
    credit: str

    @property
    def key(self) -> str:
        """Its name in the page's address: the file's name without its extension."""
        return self.path.stem

    @property
    def path(self) -> Path:
        """The path of the file."""
        return FOLDER / self.name


# The bundled models recognise the first three; ImageNet has no astronaut, so the last shows a doubtful answer.
SAMPLES = (
    Sample("macaws.png", "Macaws", "Steve Kelly for Kodak, unrestricted usage"),
    Sample("coffee.png", "Coffee", "Rachel Michetti, CC0"),
    Sample("tripod.png", "Tripod", "Lav Varshney, CC0"),
    Sample("astronaut.png", "Astronaut", "NASA, public domain"),
)


def find_sample(key: str | None) -> Sample | None:
    """Return the sample of that key, if there is one."""
    return next((sample for sample in SAMPLES if sample.key == key), None)
