"""How each server wants its images over HTTP, and what it answers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_BOUNDARY = "lightbox-bench-boundary"

Answer = Mapping[int, float]
"""The best classes of an answer: probability by class id."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One way of asking: `encode` makes a body of a photograph, `read` the answer's best classes of an answer's body.

    The headers are the same for every photograph.
    """

    path: str
    headers: Mapping[str, str]
    encode: Callable[[bytes], bytes]
    read: Callable[[bytes], Answer]


def raw(path: str) -> Wire:
    """Ask with the photograph as the whole body."""
    return Wire(path, {"Content-Type": "image/jpeg"}, bytes, _read_predictions)


def form(path: str, field: str) -> Wire:
    """Ask with the photograph as a file of a form."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="photograph.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    return Wire(path, headers, lambda photograph: head + photograph + tail, _read_predictions)


def triton(model: str) -> Wire:
    """Ask as KServe's protocol with Triton's binary tensors wants it: a JSON header, then one BYTES element."""

    def describe(size_bytes: int) -> bytes:
        parameters = {"binary_data_size": size_bytes}
        image = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": parameters}
        return json.dumps({"inputs": [image]}).encode()

    # Padded to one length, which is itself a header: headers are the same for every photograph.
    length = len(describe(10**9))

    def encode(photograph: bytes) -> bytes:
        element = len(photograph).to_bytes(4, "little") + photograph
        return describe(len(element)).ljust(length) + element

    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(length)}
    return Wire(f"/v2/models/{model}/infer", headers, encode, _read_tensors)


def _read_predictions(body: bytes) -> Answer:
    answer = json.loads(body)
    # A batchable API answers with as many results as it was sent images.
    (single,) = answer if isinstance(answer, list) else [answer]
    return {prediction["class_id"]: prediction["score"] for prediction in single["predictions"]}


def _read_tensors(body: bytes) -> Answer:
    tensors = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
    return dict(zip(tensors["class_id"], tensors["score"], strict=True))
