"""Load a torch program, and rewrite its graph for speed on a GPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bento_service.engines.base import describe_load_error
from bento_service.errors import ModelLoadError

if TYPE_CHECKING:
    import torch
    from torch import fx


def load_program(path: Path, name: str, device: str) -> "fx.GraphModule":
    """Load a `torch.export` file onto a device, channels-last as its images are.

    Raises:
        ModelLoadError: PyTorch cannot read the file.
        torch.OutOfMemoryError: The device has too little memory for the weights.
    """
    import torch
    from torch.export.passes import move_to_device_pass

    try:
        program = torch.export.load(path)
    # A damaged file fails in the zip reader, the JSON reader or torch's checks, with different exceptions.
    except Exception as error:
        reason = describe_load_error(error, path)
        raise ModelLoadError(
            f"PyTorch cannot load {name!r} from {path.name}: {reason}. The file is damaged, or another version of "
            "PyTorch wrote it: delete its folder in the model store and write it again (`lightbox models prepare "
            f"--torch-program {name}`).",
            model=name,
        ) from error
    # The scheduler's batches have the right shape. The export's guards are Python code that would run for every batch.
    module = move_to_device_pass(program, device).module(check_guards=False)
    return module.to(memory_format=torch.channels_last)


def fold_batch_norms(module: "fx.GraphModule") -> int:
    """Fold batch normalisations into the convolutions before them, in place; return how many.

    Equal but for f32 rounding, and saves a pass over the activations each. Not folded where the convolution or its
    weight has another user.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    folded = 0
    for convolution, norm in _foldable(module):
        weight, bias = convolution.args[1], convolution.args[2] if len(convolution.args) > 2 else None
        scale, shift, mean, variance = (_read(module, node) for node in norm.args[1:5])
        if mean is None or variance is None:
            continue
        folded_weight, folded_bias = fuse_conv_bn_weights(
            cast("torch.Tensor", _read(module, weight)),
            _read(module, bias),
            mean,
            variance,
            cast("float", norm.args[7]),
            scale,
            shift,
        )
        _write(module, cast("fx.Node", weight), folded_weight)
        bias_name = f"folded_bias_{folded}"
        module.register_parameter(bias_name, nn.Parameter(folded_bias, requires_grad=False))
        with module.graph.inserting_before(convolution):
            bias_node = module.graph.get_attr(bias_name)
        convolution.args = (*convolution.args[:2], bias_node, *convolution.args[3:])
        norm.replace_all_uses_with(convolution)
        module.graph.erase_node(norm)
        folded += 1
    _clean(module)
    return folded


def lower_weights(module: "fx.GraphModule", dtype: "torch.dtype") -> None:
    """Convert the weights of convolutions and linear layers to another type, in place.

    For a module that runs under autocast to this type, which would convert them for every batch. Other parameters stay
    f32, because autocast chooses the type of their operations.
    """
    import torch

    aten = torch.ops.aten
    lowered = {aten.conv2d.default, aten.conv2d.padding, aten.linear.default}
    for node in module.graph.nodes:
        if node.op != "get_attr" or not node.users:
            continue
        tensor = _read(module, node)
        if (
            tensor is not None
            and tensor.dtype == torch.float32
            and _count_reads(module, node.target) == 1
            and all(user.target in lowered and node in user.args[1:3] for user in node.users)
        ):
            _write(module, node, tensor.to(dtype))
    # The export asserts the types it saw, which have changed.
    for node in list(module.graph.nodes):
        if node.target == aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
    _clean(module)


def _foldable(module: "fx.GraphModule") -> "Iterator[tuple[fx.Node, fx.Node]]":
    import torch
    from torch import fx

    aten = torch.ops.aten
    convolutions = {aten.conv2d.default, aten.conv2d.padding}
    for norm in list(module.graph.nodes):
        if norm.target != aten.batch_norm.default or norm.args[5]:  # the sixth argument: whether it trains
            continue
        convolution = norm.args[0]
        if not isinstance(convolution, fx.Node) or convolution.target not in convolutions:
            continue
        weight = convolution.args[1]
        if (
            isinstance(weight, fx.Node)
            and weight.op == "get_attr"
            and len(weight.users) == len(convolution.users) == 1
            and _count_reads(module, cast("str", weight.target)) == 1
        ):
            yield convolution, norm


def _count_reads(module: "fx.GraphModule", name: str) -> int:
    return sum(node.op == "get_attr" and node.target == name for node in module.graph.nodes)


def _read(module: "fx.GraphModule", node: object) -> "torch.Tensor | None":
    """Return the parameter or buffer that a node reads; None for other nodes."""
    import torch
    from torch import fx

    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    owner, _, attribute = str(node.target).rpartition(".")
    value = getattr(module.get_submodule(owner), attribute)
    return value if isinstance(value, torch.Tensor) else None


def _write(module: "fx.GraphModule", node: "fx.Node", tensor: "torch.Tensor") -> None:
    from torch import nn

    owner, _, attribute = str(node.target).rpartition(".")
    setattr(module.get_submodule(owner), attribute, nn.Parameter(tensor.detach(), requires_grad=False))


def _clean(module: "fx.GraphModule") -> None:
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
