import json

import pytest

from bench.containers.builds import to_stock
from bench.containers.engine import list_made_images, new_layers_bytes
from bench.containers.rebuild import added_bytes, read_blobs

BUILD_OUTPUT = """\
Step 1/4 : FROM python:3.11-slim AS code
 ---> aaaaaaaaaaaa
Step 2/4 : COPY constraints.txt /build/
 ---> Using cache
 ---> bbbbbbbbbbbb
Step 3/4 : COPY src /app
 ---> cccccccccccc
Step 4/4 : RUN python -m compileall /app
 ---> Running in dddddddddddd
Removing intermediate container dddddddddddd
 ---> eeeeeeeeeeee
Successfully built eeeeeeeeeeee
"""


@pytest.mark.parametrize("level", ["", "INFO: "])
def test_only_the_images_that_a_build_made_itself_are_its_leftovers_newest_first(level: str) -> None:
    output = "".join(level + line for line in BUILD_OUTPUT.splitlines(keepends=True))

    assert list_made_images(output) == ["eeeeeeeeeeee", "cccccccccccc"]


def test_new_layers_are_the_topmost_instructions_that_have_a_size() -> None:
    assert new_layers_bytes([0, 0, 700, 0, 300, 90_000], 2) == 1_000


def make_manifest(*layers: tuple[str, int]) -> bytes:
    described = [{"digest": digest, "size": size} for digest, size in layers]
    return json.dumps({"config": {"digest": f"config of {layers}", "size": 10}, "layers": described}).encode()


def test_a_push_sends_what_the_registry_does_not_hold_and_its_manifest() -> None:
    before = make_manifest(("base", 1_000), ("code", 50))
    after = make_manifest(("base", 1_000), ("changed code", 60))

    assert added_bytes(read_blobs(before), read_blobs(after)) == 60 + 10 + len(after)


def test_a_stock_bento_differs_in_requirements_and_dockerfile_alone() -> None:
    ours = {
        "name": "lightbox",
        "models": ["m"],
        "python": {"requirements_txt": "./requirements-runtime.txt"},
        "docker": {"distro": "debian", "dockerfile_template": "./ours.j2"},
    }

    stock = to_stock(ours)

    assert stock["docker"] == {"distro": "debian"}
    assert stock["python"]["requirements_txt"] == "./requirements.stock.txt"
    assert (stock["name"], stock["models"]) == ("lightbox-stock", ["m"])
