"""The main function of compaction: from a network to a smaller one that computes the same."""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lthprune.analysis import WEIGHTED, Graph, Layer, NetworkStates, example_inputs, neuron_states, trace_graph
from lthprune.arguments import check_module
from lthprune.compaction.cutting import cut
from lthprune.compaction.equivalence import output_difference, random_inputs, same_operations
from lthprune.compaction.latency import measure_latency
from lthprune.compaction.report import CompactionReport, LayerChange, sizes_of
from lthprune.compaction.survivors import surviving_neurons
from lthprune.errors import PruningError
from lthprune.pruning import without_pruning
from lthprune.training import use_dense_layers

Inputs = tuple[Tensor, ...]
KeptInputs = tuple[Tensor | None, ...]


@dataclass(frozen=True, eq=False)
class Compacted:
    """A smaller network that computes what a pruned one does in evaluation mode; see ``compact``.

    Call it with the inputs of the original to get the original's outputs.

    Attributes:
        model: an ordinary dense module, without masks and hooks.
        kept_inputs: for each input the features that ``model`` reads, counted after flattening; None for all.
        report: sizes before and after.
    """

    model: nn.Module
    kept_inputs: KeptInputs
    report: CompactionReport

    def __call__(self, *inputs: Tensor) -> Any:
        """Return the outputs of the original for its inputs."""
        return self.model(*self.select(*inputs))

    def select(self, *inputs: Tensor) -> Inputs:
        """Return the part of the original's inputs that ``model`` reads: (batch, kept features) if some are dropped."""
        return _select(inputs, self.kept_inputs)

    def speedup(self, original: nn.Module, *inputs: Tensor, rounds: int = 11) -> float:
        """Measure how many times as long another model takes on these inputs; see ``measure_latency``.

        The time to select the kept inputs is not measured.
        """
        own = self.select(*inputs)
        seconds = measure_latency(
            {"original": lambda: original(*inputs), "compacted": lambda: self.model(*own)}, rounds=rounds
        )
        return seconds["original"] / seconds["compacted"]


def compact(
    model: nn.Module, inputs: Tensor | Sequence[Tensor] | None = None, *, drop_inputs: bool = False
) -> Compacted:
    """Make a smaller network that computes the same in evaluation mode; the model is not changed.

    Comatose and unproductive neurons and channels are removed. So are those that no path connects to an input: their
    activation is constant and is added to the biases of their readers. A constant other than zero stays if a
    convolution reads it with zero padding, or if it differs between positions. Channels that are added to each other
    or multiplied by each other are removed together or not at all, and a grouped convolution loses whole groups. What a
    norm over features or a recurrent layer reads stays, as do recurrent layers and ``nn.MultiheadAttention``. Every
    layer keeps at least one neuron, and outputs keep all. Pruned weights between kept neurons are zeros. A module that
    is called twice keeps its size.

    The smaller network is a copy of the model with smaller dense layers, convolutions and batch norms; its code, names
    and dtype are the model's. A layer keeps its size if the model's code relies on it (``x.view(-1, 256)``,
    ``x.chunk(2)``, ``x / x.shape[1]``, ``x * self.scale[:n]``): the smaller network is traced, and has to run the same
    operations with the same constants on the same neurons. In addition, both networks are compared on random inputs.

    Args:
        model: dense or pruned; supported are the models of ``neuron_states``. Weights of zero count as pruned.
        inputs: an example for each input, (batch, ...), of which only the shape counts; may be left out if the first
            layer is dense.
        drop_inputs: whether to remove also the input features that no unpruned weight reads, of networks that begin
            with a dense layer, on flattened inputs or not.

    Raises:
        PruningError: the model cannot be traced or uses an unsupported operation; ``drop_inputs`` of a network that
            does not read its input as a list of features.

    Examples:
        >>> from lthprune.pruning import write_mask
        >>> model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> write_mask(model[2], "weight", torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 0, 0]]))
        >>> compacted = compact(model)
        >>> compacted.report.before.weights, compacted.report.after.weights
        (30, 18)
        >>> x = torch.randn(8, 4)
        >>> torch.allclose(compacted(x), model(x), atol=1e-6)
        True
    """
    check_module(model)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    dense = without_pruning(model).cpu().eval()
    use_dense_layers(dense)
    for name, tensor in dense.state_dict().items():
        if not tensor.isfinite().all():
            raise PruningError(f"{name!r} has values that are NaN or infinite. Did the training diverge?")
    examples = example_inputs(dense, inputs)
    masks = {name: parameter != 0 for name, parameter in dense.named_parameters() if parameter.ndim > 1}
    states = neuron_states(dense, examples, masks=masks)
    if drop_inputs:
        _check_droppable(states.graph, examples)
    original = _Original(dense, examples, states)
    attempt = original.attempt(drop_inputs, whole=())
    whole: tuple[str, ...] = ()
    if not attempt.same:
        shrinking = original.shrinking(attempt.kept)
        attempt = original.attempt(drop_inputs, whole=(), fixed=True)
        whole = tuple(name for name in shrinking if name not in original.shrinking(attempt.kept))
    if not attempt.same:  # find the layers that have to keep their size: release one after another
        whole = shrinking
        for name in whole:
            fewer = tuple(each for each in whole if each != name)
            whole = fewer if original.attempt(drop_inputs, fewer).same else whole
        attempt = original.attempt(drop_inputs, whole)
    if not attempt.same:
        raise PruningError(
            f"compaction finds no smaller {type(model).__name__} that computes the same, even if every layer keeps its "
            "size. Does the code of forward() draw random numbers or change the model?"
        )
    selected = _select(examples, attempt.kept_inputs)
    before, after = sizes_of(dense, examples), sizes_of(attempt.model, selected)
    report = CompactionReport(
        layers=tuple(LayerChange(name, size, after[name]) for name, size in before.items()),
        inputs=(_features(examples), _features(selected)),
        whole=whole,
        difference=attempt.difference,
    )
    return Compacted(attempt.model.to(device), attempt.kept_inputs, report)


@dataclass(frozen=True, eq=False)
class _Attempt:
    """A network without some of the neurons, and how it compares with the original."""

    model: nn.Module
    kept: Tensor
    kept_inputs: KeptInputs
    same: bool
    difference: float


@dataclass(frozen=True, eq=False)
class _Original:
    """A dense network, a sample of each input, and the states of its neurons."""

    model: nn.Module
    examples: Inputs
    states: NetworkStates

    def attempt(self, drop_inputs: bool, whole: Collection[str], *, fixed: bool = False) -> _Attempt:
        """Remove the neurons that do not matter, except from the layers ``whole``, and compare with the original.

        With ``fixed``, neurons whose axis the model's code splits are kept as well.
        """
        model = copy.deepcopy(self.model)
        kept = surviving_neurons(model, self.states, inputs=not drop_inputs, whole=whole, fixed=fixed)
        cut(model, self.states, kept)
        features = [kept[layer.span] for layer in self.states.graph.layers if layer.kind == "input"]
        kept_inputs = tuple(None if bool(each.all()) else each.nonzero()[:, 0] for each in features)
        try:
            graph = trace_graph(model, _select(self.examples, kept_inputs))
        except PruningError:  # the model's code relies on the sizes of the original
            return _Attempt(model, kept, kept_inputs, False, torch.nan)
        if not same_operations(graph, self.states.graph, kept):
            return _Attempt(model, kept, kept_inputs, False, torch.nan)
        inputs = random_inputs(self.model, self.examples)
        difference, close = output_difference(self.model, model, inputs, _select(inputs, kept_inputs))
        return _Attempt(model, kept, kept_inputs, close, difference)

    def shrinking(self, kept: Tensor) -> tuple[str, ...]:
        """Return the layers of which some neurons are not kept."""
        layers = [layer for layer in self.states.graph.layers if layer.kind in ("input", *WEIGHTED)]
        return tuple(layer.name for layer in layers if not kept[layer.span].all())


def _check_droppable(graph: Graph, examples: Inputs) -> None:
    """Refuse to drop features of inputs that other layers than dense ones read."""
    layers = [layer for layer in graph.layers if layer.kind == "input"]
    for layer, example in zip(layers, examples, strict=True):
        others = [each for each in graph.layers if each.kind != "dense" and _reads(each, layer)]
        if example.ndim > 2 and others:
            raise PruningError(
                f"drop_inputs: the input {layer.name!r} of shape {tuple(example.shape)} is read by {others[0].name!r}, "
                "and not by dense layers only; so no single features of it can be dropped. Leave drop_inputs out."
            )


def _reads(layer: Layer, other: Layer) -> bool:
    return bool(((layer.sources >= other.neurons.start) & (layer.sources < other.neurons.stop)).any())


def _select(inputs: Inputs, kept_inputs: KeptInputs) -> Inputs:
    return tuple(
        each if kept is None else each.flatten(1)[:, kept.to(each.device)]
        for each, kept in zip(inputs, kept_inputs, strict=True)
    )


def _features(inputs: Inputs) -> int:
    return sum(each[0].numel() for each in inputs)
