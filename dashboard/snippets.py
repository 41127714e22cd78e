"""The page's API call as code to copy, for a shell and for Python. Pure functions."""

import shlex
from dataclasses import dataclass
from urllib.parse import urlencode

FALLBACK_NAME = "image.png"


@dataclass(frozen=True, slots=True)
class Call:
    """The parameters of a classification; `file_name` is the image's path on the reader's machine."""

    url: str
    file_name: str
    model: str
    top_k: int


def as_curl(call: Call) -> str:
    """Write the call for a POSIX shell."""
    query = urlencode({"model": call.model, "top_k": call.top_k})
    parts = (
        "curl",
        f"--data-binary {shlex.quote('@' + (call.file_name or FALLBACK_NAME))}",
        "--header 'Content-Type: application/octet-stream'",
        shlex.quote(f"{call.url}/v1/classify?{query}"),
    )
    return " \\\n  ".join(parts)


def as_python(call: Call) -> str:
    """Write the call for Python, with the client."""
    return f"""from pathlib import Path

from lightbox_client import Client

with Client({call.url!r}) as client:
    answer = client.classify(Path({call.file_name or FALLBACK_NAME!r}), model={call.model!r}, top_k={call.top_k})

for prediction in answer.predictions:
    print(f"{{prediction.score:.4f}}  {{prediction.label}}")
"""
