"""The graph of a module's neurons, traced by ``torch.fx``."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from lthprune.analysis.graph import Graph
from lthprune.analysis.interpreter import NeuronInterpreter
from lthprune.arguments import check_module, described
from lthprune.errors import PruningError, suggestion
from lthprune.pruning import first_names, masks_of, model_parameters, without_pruning
from lthprune.training import use_dense_layers


def trace_graph(
    model: nn.Module,
    inputs: Tensor | Sequence[Tensor] | None = None,
    *,
    masks: Mapping[str, Tensor] | None = None,
    layers: Sequence[str] | None = None,
) -> Graph:
    """Return the graph of a model's neurons; the model is not changed.

    Args:
        model: dense or pruned. ``torch.fx`` has to be able to trace it; supported are dense, convolutional and
            recurrent layers, embeddings, attention, norms, activations, pooling, dropout, reshaping, sums, products and
            concatenations.
        inputs: an example for each input, (batch, ...), of which only the shape counts; may be left out if the first
            layer is dense.
        masks: which elements of parameters are unpruned, by plain name, in addition to the model's own masks.
        layers: names of modules to run one after another, for a model that cannot be traced.

    Raises:
        PruningError: the model cannot be traced or uses unsupported operations; the error names them all.

    Examples:
        >>> graph = trace_graph(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
        >>> [(layer.name, layer.kind, len(layer.neurons)) for layer in graph.layers]
        [('input_1', 'input', 4), ('0', 'dense', 3), ('2', 'dense', 2), ('output', 'output', 2)]
    """
    network, live, examples = traced_network(model, inputs, masks=masks, layers=layers)
    interpreter = NeuronInterpreter(network, live)
    run_on_examples(interpreter, examples, model)
    return interpreter.traced()


def traced_network(
    model: nn.Module,
    inputs: Tensor | Sequence[Tensor] | None,
    *,
    masks: Mapping[str, Tensor] | None,
    layers: Sequence[str] | None,
) -> tuple[fx.GraphModule, dict[str, Tensor], tuple[Tensor, ...]]:
    """Return a copy of a model as ``torch.fx`` traced it, all its masks, and a sample of each input."""
    check_module(model)
    if isinstance(model, nn.Linear | _ConvNd):
        raise PruningError(f"this {type(model).__name__} is a single layer; pass a network: nn.Sequential(layer).")
    for each in model_parameters(model):
        if each.parameter is None:
            raise PruningError(
                f"{each.layer!r} is parametrised (by a weight norm, say), so every call computes its weights again. "
                "Remove that first: torch.nn.utils.parametrize.remove_parametrizations."
            )
    live = {name: mask.detach().cpu().bool() for name, mask in masks_of(model).items()}
    copy = without_pruning(model).cpu().eval()
    use_dense_layers(copy)
    live |= _masked(copy, masks or {})
    examples = example_inputs(copy, inputs)
    return _symbolic(copy) if layers is None else _sequence(copy, layers), live, examples


def run_on_examples(interpreter: NeuronInterpreter, examples: Sequence[Tensor], model: nn.Module) -> None:
    """Run a traced model on a sample of each input."""
    try:
        with torch.enable_grad():
            interpreter.run(*examples)
    except PruningError:
        raise
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        shapes = ", ".join(str(tuple(example.shape)) for example in examples)
        raise PruningError(
            f"this {type(model).__name__} fails on an example input of shape {shapes} "
            f"({' '.join(str(error).split())}). Pass an example of the right shape: inputs=torch.zeros(1, ...)."
        ) from error


def _masked(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Set a model's masked weights to zero, and return the masks."""
    parameters, first = dict(model.named_parameters(remove_duplicate=False)), first_names(model)
    if not isinstance(masks, Mapping):
        raise PruningError(
            f"masks are a dict of tensors by plain name, as in {{'0.weight': mask}}; not {described(masks)}."
        )
    live = {}
    for name, mask in masks.items():
        if name not in parameters:
            raise PruningError(f"masks: the model has no parameter {name!r}{suggestion(str(name), parameters)}")
        if not isinstance(mask, Tensor) or mask.shape != parameters[name].shape:
            what = f"a tensor of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else described(mask)
            raise PruningError(f"masks: {name!r} has the shape {tuple(parameters[name].shape)}; its mask is {what}.")
        for tied in (other for other, own in first.items() if own == first[name]):
            live[tied] = mask.detach().cpu().bool()
        parameters[name].data *= live[name]
    return live


def _overwriting(operation: Callable[[Any, Any], Any]) -> Any:
    def record(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operation, (self, other), {})

    return record


class _Proxy(fx.Proxy):
    """Stands for a tensor while a model is traced; unlike torch's own, it shows that ``x += y`` overwrites x."""

    __iadd__ = _overwriting(operator.iadd)
    __isub__ = _overwriting(operator.isub)
    __imul__ = _overwriting(operator.imul)
    __itruediv__ = _overwriting(operator.itruediv)
    __ipow__ = _overwriting(operator.ipow)


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


def _symbolic(model: nn.Module) -> fx.GraphModule:
    try:
        return fx.GraphModule(model, _Tracer().trace(model))
    except Exception as error:  # tracing runs the model's code on placeholders, which can fail in any way
        raise PruningError(
            f"torch.fx cannot trace this {type(model).__name__} ({' '.join(str(error).split())}). Name the modules to "
            "run one after another, neuron_states(model, layers=('conv1', 'relu', 'flatten', 'dense1')); or move code "
            "that depends on values out of forward()."
        ) from error


def _sequence(model: nn.Module, layers: Sequence[str]) -> fx.GraphModule:
    """Return a network that runs these modules one after another."""
    if isinstance(layers, str) or not layers:
        raise PruningError(
            f"layers = {layers!r}: name modules in a tuple, as in ('conv1', 'relu', 'flatten', 'dense1')."
        )
    known = dict(model.named_modules())
    graph = fx.Graph()
    node = graph.placeholder("input_1")
    for name in layers:
        if name not in known:
            raise PruningError(f"the model has no module {name!r}{suggestion(name, known)}")
        node = graph.call_module(name, (node,))
    graph.output(node)
    return fx.GraphModule(model, graph)


def example_inputs(model: nn.Module, inputs: Tensor | Sequence[Tensor] | None) -> tuple[Tensor, ...]:
    """Return one sample for each input."""
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise PruningError("the model has lazy layers that are not initialised. Run one forward pass first.")
    parameter = next(model.parameters(), torch.zeros(()))
    if inputs is None:
        first = next((module for module in model.modules() if isinstance(module, nn.Linear | _ConvNd)), None)
        if not isinstance(first, nn.Linear):
            raise PruningError(
                f"the first layer of this {type(model).__name__} does not determine the shape of its inputs. Pass an "
                "example of each: inputs=torch.zeros(1, channels, height, width)."
            )
        return (torch.zeros(1, first.in_features, dtype=parameter.dtype),)
    several = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    for each in several:
        if not isinstance(each, Tensor) or each.ndim < 2 or not len(each):
            what = f"a tensor of shape {tuple(each.shape)}" if isinstance(each, Tensor) else described(each)
            raise PruningError(f"inputs: an example is a tensor (batch, ...) of at least one sample; this is {what}.")
    return tuple(
        each[:1].detach().cpu().to(parameter.dtype) if each.is_floating_point() else each[:1].detach().cpu()
        for each in several
    )
