"""requirements.lock and the files that it is made from agree."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = {
    match[1]: (match[2], match[3])
    for match in re.finditer(r"^([a-z0-9-]+)==(\S+)(.*(?:\n    .*)*)", LOCK, re.MULTILINE)
}


def read_pins() -> list[tuple[str, str]]:
    """Each library that a requirement file names, as the lock spells it, and its version."""
    texts = [path.read_text() for path in ROOT.glob("requirements*.txt")]
    named = re.findall(r"^([\w.-]+)(?:\[\w+\])?==([^\s;]+)", "\n".join(texts), re.MULTILINE)
    return [(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in named]


def test_the_lock_has_what_the_files_name_in_the_same_version() -> None:
    differing = [f"{name}=={version}" for name, version in read_pins() if LOCKED.get(name, ("",))[0] != version]

    assert not differing, "run `make lock`"


def test_every_locked_version_has_its_hashes_and_no_index_of_its_own() -> None:
    assert [name for name, (_, rest) in LOCKED.items() if "--hash=sha256:" not in rest] == []
    assert "://" not in LOCK
