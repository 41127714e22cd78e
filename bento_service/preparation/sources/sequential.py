"""Small networks described by their layers: `--arch "Sequential(Conv2d(1, 32, 3), ReLU(), …)"`.

A state dict has the tensors of a network and not its wiring. Of a plain chain of layers, the wiring is the list of the
layers, which a person can copy from the network's source. It is parsed, and never run.
"""

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from bento_service.errors import WrongFactsError

if TYPE_CHECKING:
    from torch import nn

PREFIXES: Final = ("Sequential(", "nn.Sequential(", "torch.nn.Sequential(")
_ACTIVATIONS: Final = ("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "GELU", "SiLU", "Mish", "Tanh", "Sigmoid")
_POOLINGS: Final = ("MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "Flatten", "ZeroPad2d")
_NORMALISATIONS: Final = ("BatchNorm1d", "BatchNorm2d", "GroupNorm", "LayerNorm")
_LAYERS: Final = frozenset(
    ("Conv2d", "Linear", "Dropout", "Dropout2d", "Identity", *_ACTIVATIONS, *_POOLINGS, *_NORMALISATIONS)
)
"""Layers of torch.nn that take one tensor and need no other than numbers."""
_MAX_FACTOR: Final = 10**6
_ALLOWED = f"Allowed are Sequential and {', '.join(sorted(_LAYERS))}, with literal values."


def is_sequential(arch: str) -> bool:
    """Return whether an `--arch` lists layers."""
    return "".join(arch.split()).startswith(PREFIXES)


def build_sequential(arch: str) -> "nn.Sequential":
    """Build the layers that a text lists, with random weights.

    Raises:
        WrongFactsError: The text cannot be parsed, or has another layer.
    """
    from torch import nn

    try:
        expression = ast.parse(arch.strip(), mode="eval").body
        return nn.Sequential(*_build(expression))
    # PyTorch raises RuntimeError for sizes that cannot be.
    except (SyntaxError, ValueError, TypeError, RuntimeError, ArithmeticError, RecursionError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        raise WrongFactsError(f"--arch cannot be read: {reason}. {_ALLOWED}") from error


def _build(expression: ast.expr) -> "Iterator[nn.Module]":
    """Yield the layers of a call, those of a nested Sequential one by one."""
    from torch import nn

    if not isinstance(expression, ast.Call):
        raise ValueError(f"`{ast.unparse(expression)}` is no layer")
    name = ast.unparse(expression.func).removeprefix("torch.").removeprefix("nn.")
    if name == "Sequential":
        for layer in expression.args:
            yield from _build(layer)
        return
    if name not in _LAYERS or any(keyword.arg is None for keyword in expression.keywords):
        raise ValueError(f"`{ast.unparse(expression)}` is no layer that is known")
    arguments = [_evaluate(argument) for argument in expression.args]
    named = {str(keyword.arg): _evaluate(keyword.value) for keyword in expression.keywords}
    yield getattr(nn, name)(*arguments, **named)


def _evaluate(expression: ast.expr) -> Any:  # noqa: ANN401 - as ast's own
    """Return a literal's value, or a product of them: `128 * 3 * 3` is how sizes are usually written."""
    match expression:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            factors = _evaluate(left), _evaluate(right)
            if not all(isinstance(factor, int) and 0 <= factor <= _MAX_FACTOR for factor in factors):
                raise ValueError(f"`{ast.unparse(expression)}` is no product of sizes")
            return factors[0] * factors[1]
    return ast.literal_eval(expression)
