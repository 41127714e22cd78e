"""Read a file of PyTorch weights from outside: called by `confined`, in a process of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bento_service.errors import ModelLoadError

if TYPE_CHECKING:
    from torch import Tensor

_WRAPPING_KEYS: Final = ("state_dict", "model_state_dict", "model")
"""Where training scripts keep the state dict of a checkpoint."""
_PREFIXES: Final = ("module.", "_orig_mod.", "model.", "timm_model.")
"""What wrappers put before each name: DataParallel, torch.compile, Lightning, transformers."""


def convert_weights(request: Mapping[str, Any]) -> object:
    """Write the tensors of the file at `path`, which `torch.save` made, as safetensors to `converted_path`.

    Returns their names in the file's order, which safetensors do not keep.
    """
    import pickle

    import torch
    from safetensors.torch import save_file

    path = Path(request["path"])
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, LookupError, OSError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelLoadError(
            f"The weights {path.name!r} cannot be read without running code in them: {reason}"
        ) from error
    tensors = _find_tensors(content, path.name)
    # Views of one storage cannot be saved as they are.
    save_file(
        {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, request["converted_path"]
    )
    return {"names": list(tensors)}


def _find_tensors(content: object, file_name: str) -> "Mapping[str, Tensor]":
    import torch

    candidates = [content]
    if isinstance(content, dict):
        candidates += [content[key] for key in _WRAPPING_KEYS if key in content]
    for candidate in candidates:
        if isinstance(candidate, dict) and candidate and all(isinstance(name, str) for name in candidate):
            tensors = {name: value for name, value in candidate.items() if isinstance(value, torch.Tensor)}
            if len(tensors) == len(candidate):
                return _strip_prefix(tensors)
    found = f"the keys {', '.join(map(repr, list(content)[:5]))}" if isinstance(content, dict) else "no dictionary"
    raise ModelLoadError(
        f"{file_name!r} has {found}, and no state dict. Save it with `torch.save(model.state_dict(), FILE)`."
    )


def _strip_prefix(tensors: "Mapping[str, Tensor]") -> "Mapping[str, Tensor]":
    prefix = next((prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in tensors)), "")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
