"""Read the tensors of a `.pth` file without PyTorch, and without letting its pickle call anything.

The bundled weights are in the format that `torch.save` wrote before version 1.6 (torch/serialization.py,
`_legacy_save`): pickles of a magic number, a protocol, the sizes of C's types, the state dict and the storages' keys,
then for each storage its number of elements and their bytes.
"""

import hashlib
import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32] | NDArray[np.int64]

_MAGIC_NUMBER: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
_DAMAGE: Final = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    TypeError,
)


def read_state_dict(file: Traversable, *, sha256: str) -> Mapping[str, Tensor]:
    """Return the tensors of a file, by name and in the file's order, if it has this digest.

    Raises:
        OSError: The file cannot be read.
        ValueError: Its digest differs; nothing was unpickled.
    """
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ValueError(f"{file.name} is damaged: its SHA-256 is {digest}, not {sha256}")
    return parse_state_dict(content)


def parse_state_dict(content: bytes) -> Mapping[str, Tensor]:
    """Return the tensors of a file's content.

    Raises:
        ValueError: The content has another format, a tensor exceeds its storage, or the pickle names anything but
            what a state dict of f32 and int64 tensors takes. A file that was made to do so can still end the process:
            Python reads a pickle without a limit on memory or nesting.
    """
    file = io.BytesIO(content)
    try:
        magic_number, protocol, _system, described, keys = (_Unpickler(file).load() for _ in range(5))
    # A damaged pickle raises any of these.
    except _DAMAGE as error:
        raise ValueError(f"no state dict: {error}") from error
    if (magic_number, protocol) != (_MAGIC_NUMBER, _PROTOCOL):
        raise ValueError("no file of torch.save's format before version 1.6")
    if not isinstance(described, OrderedDict) or not isinstance(keys, list):
        raise ValueError("no state dict")
    # A copy, since a pickle can set the attributes of an OrderedDict, `items` among them.
    tensors = dict(OrderedDict.items(described))
    storages = _read_storages(content, file.tell(), keys, _types_of_storages(tensors))
    return {name: tensor.read(storages) for name, tensor in tensors.items()}


class _Storage(NamedTuple):
    key: str
    dtype: "np.dtype[Any]"
    elements: int


class _StoredTensor(NamedTuple):
    """A view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: Sequence[int]
    strides: Sequence[int]

    def read(self, storages: Mapping[str, Tensor]) -> Tensor:
        storage = storages[self.storage.key]
        numbers = (self.offset, *self.shape, *self.strides)
        if not all(type(number) is int and number >= 0 for number in numbers) or len(self.shape) != len(self.strides):
            raise ValueError(f"a tensor has the shape {self.shape} and the strides {self.strides}")
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        # The number of elements too, since strides of zero make any size of one element.
        if not (0 < math.prod(self.shape) <= len(storage) and last < len(storage)):
            raise ValueError(f"a tensor of the shape {self.shape} exceeds its storage of {len(storage)} elements")
        steps = [stride * storage.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(storage[self.offset :], self.shape, steps, writeable=False)
        return np.array(view, order="C")


class _DescribeTensor:
    """Stands in for `torch._utils._rebuild_tensor_v2`; no function, since a pickle can set a function's attributes."""

    __slots__ = ()

    def __call__(
        self, storage: object, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_gradient: object
    ) -> _StoredTensor:
        if not (isinstance(storage, _Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)):
            raise pickle.UnpicklingError("a tensor without a storage, a shape or strides")
        return _StoredTensor(storage, offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    """Takes the four names of a state dict, each with a stand-in of our own, and no other."""

    _ALLOWED: Final[Mapping[tuple[str, str], Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _DescribeTensor(),
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as pickle's own
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in it") from None

    def persistent_load(self, saved_id: Any) -> _Storage:  # noqa: ANN401 - as pickle's own
        match saved_id:
            case ("storage", np.dtype() as dtype, str() as key, str(), int() as elements, None):
                return _Storage(key, dtype, elements)
        raise pickle.UnpicklingError("a storage is described in another way")


def _types_of_storages(described: Mapping[str, object]) -> Mapping[str, _Storage]:
    """Return the storages of all tensors by their keys."""
    storages: dict[str, _Storage] = {}
    for name, tensor in described.items():
        if not isinstance(name, str) or not isinstance(tensor, _StoredTensor):
            raise ValueError(f"{name!r} is no tensor")
        if storages.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise ValueError(f"the storage of {name!r} is described in two ways")
    return storages


def _read_storages(
    content: bytes, start: int, keys: Sequence[object], described: Mapping[str, _Storage]
) -> Mapping[str, Tensor]:
    if sorted(map(str, keys)) != sorted(described):
        raise ValueError("the storages are not those of the tensors")
    storages: dict[str, Tensor] = {}
    for key in map(str, keys):
        storage = described[key]
        elements = int.from_bytes(content[start : start + 8], "little", signed=True)
        if elements != storage.elements or elements < 1:
            raise ValueError(f"a storage has {elements} elements instead of {storage.elements}")
        storages[key] = np.frombuffer(content, storage.dtype, elements, start + 8)
        start += 8 + elements * storage.dtype.itemsize
    return storages
