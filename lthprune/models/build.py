"""From a plan to a module with its initial weights."""

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from lthprune.errors import RecipeError
from lthprune.models.named import build_named
from lthprune.models.spec import LIBRARIES, ModelSpec, parse_item
from lthprune.pruning import refresh, select

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
}


def build_model(
    spec: ModelSpec, input_shape: tuple[int, ...], outputs: int, generator: torch.Generator, *, samples: int = 2
) -> nn.Module:
    """Build a network: convolutions as planned, dense layers, an output layer of so many units; or a library's network.

    The layers of a plan are named ``conv1``, ``norm1``, ``pool1``, ``dense1``, ..., ``output``. Weights and biases
    come from the generator and nothing else. A network of torchvision or timm is tried on a batch of ``samples``.

    Raises:
        RecipeError: the plan or the library's network does not fit inputs of this shape.

    Examples:
        >>> lenet = build_model(ModelSpec(kind="lenet"), (1, 28, 28), 10, torch.Generator())
        >>> [name for name, layer in lenet.named_children() if isinstance(layer, nn.Linear)]
        ['dense1', 'dense2', 'output']
    """
    if spec.kind in LIBRARIES:
        return build_named(spec, input_shape, outputs, generator, samples=samples)
    plan = spec.plan
    with torch.device("meta"):  # no memory, and no draws from the global generator
        layers, shape = _convolutions(spec, input_shape)
        if len(shape) > 1:
            layers["flatten"] = nn.Flatten()
        features = torch.Size(shape).numel()
        for index, size in enumerate(plan.dense, start=1):
            layers[f"dense{index}"] = nn.Linear(features, size)
            layers[f"activation{index + _conv_count(layers)}"] = ACTIVATIONS[spec.activation]()
            features = size
        layers["output"] = nn.Linear(features, outputs)
        model = nn.Sequential(layers)
    model.to_empty(device="cpu")
    initialise(model, spec, generator)
    return model


def initialise(model: nn.Module, spec: ModelSpec, generator: torch.Generator) -> None:
    """Draw a model's weights and biases anew, in place; a pruned model's too.

    ``reset_parameters`` would not reach what is pruned in torch's terms. Biases are drawn after all weights, so that
    the weights are the same whatever the biases begin as.

    Raises:
        RecipeError: the network is torchvision's or timm's, whose constructors draw the weights.
    """
    if spec.kind in LIBRARIES:
        raise RecipeError(
            f"{spec.kind} draws the weights of {spec.name} when it builds the network. Build it again with another "
            "generator: build_model(spec, input_shape, outputs, generator)."
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


def _convolutions(spec: ModelSpec, input_shape: tuple[int, ...]) -> tuple[OrderedDict[str, nn.Module], tuple[int, ...]]:
    """Return the convolutional layers and the shape that leaves them."""
    plan = spec.plan
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if not plan.conv:
        return layers, input_shape
    if len(input_shape) != 3:
        raise RecipeError(f"a plan with convolutions needs images (C, H, W); the data have the shape {input_shape}.")
    channels, *image = input_shape
    convolutions = pools = 0
    for item in map(parse_item, plan.conv):
        if item == "M" or item == "A":
            pools += 1
            name = f"pool{pools}"
            layers[name] = nn.MaxPool2d(2) if item == "M" else nn.AvgPool2d(2)
            image = [size // 2 for size in image]
        else:
            convolutions += 1
            name = f"conv{convolutions}"
            layers[name] = nn.Conv2d(channels, item.channels, plan.kernel_size, padding=plan.padding)
            if item.batch_norm:
                layers[f"norm{convolutions}"] = nn.BatchNorm2d(item.channels)
            layers[f"activation{convolutions}"] = ACTIVATIONS[spec.activation]()
            channels = item.channels
            image = [size + 2 * plan.padding - plan.kernel_size + 1 for size in image]
        if min(image) < 1:
            raise RecipeError(
                f"the plan {list(plan.conv)} shrinks images of {input_shape[1]}x{input_shape[2]} pixels to nothing "
                f"at {name}; take out a pooling or a layer, or raise the padding."
            )
    return layers, (channels, *image)


def _conv_count(layers: OrderedDict[str, nn.Module]) -> int:
    return sum(isinstance(layer, nn.Conv2d) for layer in layers.values())
