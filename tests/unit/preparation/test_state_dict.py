"""Reading state dicts without PyTorch, from files that PyTorch wrote and from files that nobody should trust."""

import hashlib
import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bento_service.preparation.sources.state_dict import parse_state_dict, read_state_dict


def save(state: Mapping[str, Any]) -> bytes:
    """Write a state dict in the format of the bundled weights."""
    buffer = io.BytesIO()
    torch.save(OrderedDict(state), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


class Command:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch /tmp/lightbox-was-here",)


def test_tensors_are_those_that_pytorch_saved() -> None:
    kernel = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    state = {
        "whole": kernel,
        "turned": kernel.permute(2, 0, 1),
        "a part": kernel[1, 1:],
        "a scalar": torch.tensor(7),
    }

    read = parse_state_dict(save(state))

    assert list(read) == list(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(read[name], tensor.numpy())
        assert (read[name].shape, read[name].dtype) == (tuple(tensor.shape), tensor.numpy().dtype)


def test_nothing_is_unpickled_of_a_file_with_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Command()))

    with pytest.raises(ValueError, match=r"weights\.pth is damaged: its SHA-256 is .*, not 00"):
        read_state_dict(path, sha256="00")

    path.write_bytes(save({"w": torch.ones(1)}))
    assert read_state_dict(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())["w"] == 1


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Command(), "posix.system"),
        (torch.ones(1, dtype=torch.float64), "torch.DoubleStorage"),
        (torch.nn.Linear(1, 1), "torch.nn"),
        (np.ones(1), "numpy"),
    ],
)
def test_a_file_that_names_anything_else_is_refused(value: object, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}.* is not allowed"):
        parse_state_dict(save({"w": value}))


def test_a_dict_of_anything_but_tensors_is_refused() -> None:
    with pytest.raises(ValueError, match="'epoch' is no tensor"):
        parse_state_dict(save({"epoch": 3}))


def test_the_zip_files_of_newer_pytorch_are_refused() -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(1)}, buffer)

    with pytest.raises(ValueError, match="no state dict"):
        parse_state_dict(buffer.getvalue())


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (3, 1)),
        (0, (2, 2), (1,)),
        (-1, (2,), (1,)),
        (3, (2,), (-1,)),
        (0, (1 << 40,), (0,)),
        (0, (1 << 62, 4), (0, 1)),
        (1.0, (1,), (1,)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(offset: Any, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    class Tensor:
        def __reduce__(self) -> tuple[object, ...]:
            storage = torch.ones(4)._typed_storage()  # type: ignore[no-untyped-call] # as torch.save's own code
            return torch._utils._rebuild_tensor_v2, (storage, offset, shape, strides, False, OrderedDict())

    with pytest.raises(ValueError, match="a tensor "):
        parse_state_dict(save({"w": Tensor()}))


def test_a_file_that_ends_early_is_an_error() -> None:
    content = save({"w": torch.ones(2, 3), "b": torch.zeros(3)})

    for length in range(len(content)):
        with pytest.raises(ValueError):
            parse_state_dict(content[:length])


@pytest.mark.parametrize(
    "attribute",
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n(N}S'__kwdefaults__'\n}stb",
        b"ctorch._utils\n_rebuild_tensor_v2\n}S'name'\nI1\nsb",
        b"ccollections\nOrderedDict\n(N}S'items'\nI1\nstb",
    ],
)
def test_a_pickle_cannot_change_what_stands_in_for_a_name(attribute: bytes) -> None:
    with pytest.raises(ValueError, match="no state dict"):
        parse_state_dict(make_file(attribute))


def test_a_state_dict_with_attributes_of_its_own_is_only_its_items() -> None:
    assert parse_state_dict(make_file(b"ccollections\nOrderedDict\n)R}S'items'\nI1\nsb")) == {}


def test_a_pickle_that_asks_for_more_memory_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match="no state dict"):
        parse_state_dict(b"\x80\x02Nr\xff\xff\xff\x7f.")


def make_file(described: bytes) -> bytes:
    """Write a file without storages whose state dict is what these opcodes make."""
    header = b"".join(pickle.dumps(value, 2) for value in (torch.serialization.MAGIC_NUMBER, 1001, None))
    return header + b"\x80\x02" + described + b"." + pickle.dumps([], 2)
