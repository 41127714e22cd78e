"""The sample photographs that come with the dashboard. Their sources and licences: samples/LICENCES.md."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "samples"


@dataclass(frozen=True, slots=True)
class Sample:
    """A photograph in `FOLDER`. `credit` names who made it and its licence; `alt` says what it shows."""

    name: str
    title: str
    credit: str
    alt: str

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return FOLDER / self.name


SAMPLES = (
    Sample("chelsea.png", "Cat", "Stéfan van der Walt, CC0", "A tabby cat's face, close up"),
    Sample("coffee.png", "Coffee", "Rachel Michetti, CC0", "A cup of coffee on a wooden table"),
    Sample("rocket.jpg", "Rocket", "SpaceX, public domain", "A rocket on its launch pad at dusk"),
    Sample("astronaut.png", "Astronaut", "NASA, public domain", "Eileen Collins in an orange space suit"),
)
