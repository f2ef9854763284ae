"""From the ``[model]`` table to a module with its initial weights."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from lthprune.errors import RecipeError
from lthprune.memory import check_available
from lthprune.models.named import build_named
from lthprune.models.own import build_own
from lthprune.models.residual import residual_layers
from lthprune.models.spec import LIBRARIES, RESIDUAL, ModelSpec, parse_item
from lthprune.pruning import refresh, select

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
}
_HALVING = {"M": nn.MaxPool2d, "A": nn.AvgPool2d}


def build_model(
    spec: ModelSpec,
    input_shape: tuple[int, ...],
    outputs: int,
    generator: torch.Generator,
    *,
    samples: int = 2,
    trust_code: bool = False,
) -> nn.Module:
    """Build the network of a ``[model]`` table, with initial weights that come from the generator and nothing else.

    The layers that lthprune builds are named ``conv1``, ``norm1``, ``pool1``, ``dense1``, ``dropout1``, ... and
    ``output``, the blocks of residual networks ``block1``, .... A network of torchvision or timm, or of your own
    function, is tried on a batch.

    Args:
        spec: the table.
        input_shape: of one input, (C, H, W) or (features,).
        outputs: the size of the output layer.
        generator: decides the weights.
        samples: the size of the batch that a network is tried on; BatchNorm may need more than one.
        trust_code: whether a function of your own that ``spec`` names may be imported.

    Raises:
        RecipeError: the network does not fit inputs of this shape, or a library or function is missing or fails, or
            there is no consent to import a function.

    Examples:
        >>> lenet = build_model(ModelSpec(kind="lenet"), (1, 28, 28), 10, torch.Generator())
        >>> [name for name, layer in lenet.named_children() if isinstance(layer, nn.Linear)]
        ['dense1', 'dense2', 'output']
    """
    if spec.kind in LIBRARIES:
        return build_named(spec, input_shape, outputs, generator, samples=samples)
    if spec.own:
        return build_own(spec, input_shape, outputs, generator, samples=samples, trust_code=trust_code)
    model = _without_memory(spec, input_shape, outputs)
    weights = sum(parameter.numel() for parameter in model.parameters())
    check_available(4 * weights, f"a network of {weights:,} weights", "Choose smaller layers or images.", RecipeError)
    model.to_empty(device="cpu")
    initialise(model, spec, generator)
    return model


def _without_memory(spec: ModelSpec, input_shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Return the layers of a network that lthprune builds, whose tensors have shapes, but no memory yet."""
    with torch.device("meta"), _countable():  # no draws from the global generator either
        layers, shape = _image_layers(spec, input_shape)
        if len(shape) > 1:
            layers["flatten"] = nn.Flatten()
        features = math.prod(shape)
        for index, size in enumerate(spec.architecture.dense, start=1):
            layers[f"dense{index}"] = nn.Linear(features, size)
            layers[f"activation{index + _conv_count(layers)}"] = ACTIVATIONS[spec.activation]()
            if spec.dropout:
                layers[f"dropout{index}"] = nn.Dropout(spec.dropout)
            features = size
        layers["output"] = nn.Linear(features, outputs)
        return nn.Sequential(layers)


@contextmanager
def _countable() -> Iterator[None]:
    """Raise a RecipeError in place of torch's error about a tensor whose number of entries has more than 64 bits."""
    try:
        yield
    except RuntimeError as error:
        raise RecipeError(
            f"a layer has more weights than torch can count ({' '.join(str(error).split())}). Choose smaller layers or "
            "images."
        ) from error


def initialise(model: nn.Module, spec: ModelSpec, generator: torch.Generator) -> None:
    """Draw new initial weights and biases of a model, pruned or not, in place.

    ``reset_parameters`` does not reach parameters that torch's pruning replaced. All weights are drawn before the
    first bias, so that the weights do not depend on ``bias_init``.

    Raises:
        RecipeError: lthprune did not build the network; its constructor draws the weights.
    """
    if not spec.listed:
        raise RecipeError(
            f"{spec.kind} draws the weights of {spec.name or 'its network'} when it builds the network. Build it again "
            "with another generator: build_model(spec, input_shape, outputs, generator)."
        )
    draw = _initialiser(spec)
    tensors = select(model, bias=True)
    with torch.no_grad():
        for tensor in tensors:
            if tensor.attribute == "weight":
                draw(tensor.parameter, generator)
        for weight, bias in pairwise(tensors):
            if bias.attribute == "bias":
                bound = weight.parameter[0].numel() ** -0.5 if spec.bias_init == "uniform" else 0.0
                bias.parameter.uniform_(-bound, bound, generator=generator) if bound else bias.parameter.zero_()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    refresh(model)


def _initialiser(spec: ModelSpec) -> Callable[[Tensor, torch.Generator], Tensor]:
    draws: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
        "glorot_normal": lambda weight, g: nn.init.xavier_normal_(weight, generator=g),
        "glorot_uniform": lambda weight, g: nn.init.xavier_uniform_(weight, generator=g),
        "kaiming_normal": lambda weight, g: nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=g),
        "kaiming_uniform": lambda weight, g: nn.init.kaiming_uniform_(weight, nonlinearity="relu", generator=g),
        "normal": lambda weight, g: nn.init.normal_(weight, std=spec.init_std, generator=g),
    }
    return draws[spec.init]


def _image_layers(spec: ModelSpec, input_shape: tuple[int, ...]) -> tuple[OrderedDict[str, nn.Module], tuple[int, ...]]:
    """Return the layers before the dense ones and the shape of their output."""
    if not spec.architecture.conv and spec.kind not in RESIDUAL:
        return OrderedDict(), input_shape
    if len(input_shape) != 3:
        raise RecipeError(f"convolutions need images (C, H, W); the data have the shape {input_shape}.")
    if spec.kind in RESIDUAL:
        return residual_layers(spec, input_shape[0])
    return _convolutions(spec, input_shape)


def _convolutions(spec: ModelSpec, input_shape: tuple[int, ...]) -> tuple[OrderedDict[str, nn.Module], tuple[int, ...]]:
    """Return the layers of a list ``conv`` and the shape of their output."""
    architecture = spec.architecture
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels, *image = input_shape
    convolutions = pools = 0
    for item in map(parse_item, architecture.conv):
        if item == "M" or item == "A" or item == "G":
            pools += 1
            name = f"pool{pools}"
            layers[name] = nn.AdaptiveAvgPool2d(1) if item == "G" else _HALVING[item](2)
            image = [1, 1] if item == "G" else [size // 2 for size in image]
        else:
            convolutions += 1
            name = f"conv{convolutions}"
            layers[name] = nn.Conv2d(channels, item.channels, architecture.kernel_size, padding=architecture.padding)
            if item.batch_norm:
                layers[f"norm{convolutions}"] = nn.BatchNorm2d(item.channels)
            layers[f"activation{convolutions}"] = ACTIVATIONS[spec.activation]()
            channels = item.channels
            image = [size + 2 * architecture.padding - architecture.kernel_size + 1 for size in image]
        if min(image) < 1:
            raise RecipeError(
                f"conv = {list(architecture.conv)} shrinks images of {input_shape[1]}x{input_shape[2]} pixels to "
                f"nothing at {name}; remove a pooling or a layer, or raise the padding."
            )
    return layers, (channels, *image)


def _conv_count(layers: OrderedDict[str, nn.Module]) -> int:
    return sum(isinstance(layer, nn.Conv2d) for layer in layers.values())
