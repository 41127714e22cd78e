import json
from email import message_from_bytes
from email.policy import HTTP

from hypothesis import given
from hypothesis import strategies as st

from bench.wire import form, raw, triton


def test_a_form_holds_the_photograph_as_a_file_of_its_field() -> None:
    wire = form("/classify", "image")
    head = f"Content-Type: {wire.headers['Content-Type']}\r\n\r\n".encode()
    message = message_from_bytes(head + wire.encode(b"\xff\xd8photograph"), policy=HTTP)
    (part,) = message.iter_parts()
    assert part.get_param("name", header="content-disposition") == "image"
    assert part.get_content() == b"\xff\xd8photograph"


@given(st.binary(max_size=300_000))
def test_tritons_header_has_one_length_and_tells_that_of_the_tensor(photograph: bytes) -> None:
    wire = triton("classifier")
    body = wire.encode(photograph)
    length = int(wire.headers["Inference-Header-Content-Length"])
    (image,) = json.loads(body[:length])["inputs"]
    assert image["parameters"]["binary_data_size"] == len(body) - length
    assert body[length:] == len(photograph).to_bytes(4, "little") + photograph


def test_an_answer_is_read_as_probabilities_by_class_best_first() -> None:
    predictions = {"predictions": [{"class_id": 3, "score": 0.6}, {"class_id": 1, "score": 0.4}]}
    outputs = {"outputs": [{"name": "class_id", "data": [3, 1]}, {"name": "score", "data": [0.6, 0.4]}]}
    assert list(raw("/").read(json.dumps(predictions).encode()).items()) == [(3, 0.6), (1, 0.4)]
    assert list(triton("classifier").read(json.dumps(outputs).encode()).items()) == [(3, 0.6), (1, 0.4)]
