"""What a network costs: its parameters, and its multiply-adds for one sample."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from lthprune.analysis.tracing import example_inputs
from lthprune.arguments import check_module
from lthprune.errors import PruningError
from lthprune.pruning import first_names, without_pruning
from lthprune.search import Ticket
from lthprune.training import use_dense_layers


class Cost(NamedTuple):
    """What a sparse network costs.

    Attributes:
        parameters: the number of parameters, without pruned ones; biases and norms included.
        multiply_adds: products with weights for one sample, without those of pruned weights; see ``ticket_costs``.
    """

    parameters: int
    multiply_adds: int


def ticket_costs(
    model: nn.Module, tickets: Iterable[Ticket], inputs: Tensor | Sequence[Tensor] | None = None
) -> Iterator[Cost]:
    """Yield what the network of each ticket costs, if pruned weights are left out of the computation.

    Each remaining weight of a dense layer or a convolution counts once for each position where the layer applies it,
    zero padding included: a dense layer has one position, a convolution one for each pixel of its output. A
    multiply-add is two floating-point operations. Biases, activations, pooling and norms are not counted, nor are
    products of activations with each other, as in attention. Neurons whose output has no effect count like others;
    [`compact`][lthprune.compact] removes them and reports the sizes afterwards.

    The model runs once, on one sample. Masks are read one ticket at a time.

    Args:
        model: of the architecture that the tickets come from; it is not changed.
        tickets: of one search.
        inputs: an example for each input, as in ``neuron_states``.

    Raises:
        PruningError: a ticket does not fit the model or prunes matrices of another kind of layer, or the shape of the
            inputs is unknown.

    Examples:
        >>> from lthprune import imp
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))  # 6 x 6 positions
        >>> tickets = imp(model, lambda model: None, levels=1, rate=0.5, scope="layerwise")
        >>> [*ticket_costs(model, tickets, torch.zeros(1, 1, 8, 8))]
        [Cost(parameters=1490, multiply_adds=2736), Cost(parameters=752, multiply_adds=1368)]
    """
    check_module(model)
    copy = without_pruning(model).cpu().eval()
    use_dense_layers(copy)
    layers = layer_positions(copy, example_inputs(copy, inputs))
    first = first_names(copy)
    positions: dict[str, int] = {}  # of a tied weight, those of all its layers
    for name, own in layers.items():
        weight = first[f"{name}.weight" if name else "weight"]
        positions[weight] = positions.get(weight, 0) + own
    sizes = {name: parameter.numel() for name, parameter in copy.named_parameters()}
    uncounted = _uncounted(copy, positions)
    for ticket in tickets:
        left = {name: own.left for name, own in ticket.counts.items()}
        _check_tensors(ticket, sizes, uncounted)
        remaining = sizes | left
        yield Cost(sum(remaining.values()), sum(own * remaining[name] for name, own in positions.items()))


def layer_positions(model: nn.Module, examples: Sequence[Tensor]) -> dict[str, int]:
    """Return at how many positions each dense layer and convolution applies its weights to one sample.

    Args:
        model: the network, in evaluation mode if it has batch norms.
        examples: one sample of each input.

    Returns:
        Numbers by the names of the layers that the network calls, in the order of computation; a layer that it calls
        again has the positions of all calls.

    Examples:
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))
        >>> layer_positions(model, [torch.zeros(1, 1, 8, 8)])
        {'0': 36, '2': 1}
    """
    names = {module: name for name, module in model.named_modules() if isinstance(module, nn.Linear | _ConvNd)}
    positions: dict[str, int] = {}

    def count(module: nn.Module, arguments: Any, output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            own = output.numel() // module.out_features
        elif isinstance(module, _ConvTransposeNd):
            own = arguments[0].numel() // module.in_channels
        else:
            assert isinstance(module, _ConvNd)
            own = output.numel() // module.out_channels
        positions[names[module]] = positions.get(names[module], 0) + own

    hooks = [module.register_forward_hook(count) for module in names]
    try:
        with torch.no_grad():
            model(*examples)
    finally:
        for hook in hooks:
            hook.remove()
    return positions


def _uncounted(model: nn.Module, counted: Iterable[str]) -> set[str]:
    """Return the names of matrices and kernels whose products are not counted, though there may be some.

    Layers that the network does not call have none, nor do embeddings. A layer of a class derived from ``nn.Linear``
    may be read without a call, as in ``nn.MultiheadAttention``.
    """
    without = {
        id(module.weight)
        for module in model.modules()
        if type(module) is nn.Linear or isinstance(module, _ConvNd | nn.Embedding)
    }
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and name not in set(counted) and id(parameter) not in without
    }


def _check_tensors(ticket: Ticket, sizes: dict[str, int], uncounted: set[str]) -> None:
    totals = {name: own.total for name, own in ticket.counts.items()}
    if any(sizes.get(name) != total for name, total in totals.items()):
        raise PruningError(
            f"the ticket of level {ticket.level} does not fit the model: it prunes tensors of other names or sizes. "
            "Build the model as it was when the ticket was found."
        )
    if refused := uncounted & totals.keys():
        raise PruningError(
            f"cannot count the multiply-adds of {', '.join(sorted(refused))}: only those of dense layers and "
            "convolutions that the model calls are counted."
        )
