"""The front door: a network in, a smaller one that computes the same out."""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lthprune.analysis import WEIGHTED, Graph, Layer, NetworkStates, example_inputs, neuron_states, trace_graph
from lthprune.arguments import check_module
from lthprune.compaction.cutting import shrink
from lthprune.compaction.latency import measure_latency
from lthprune.compaction.report import CompactionReport, LayerChange, sizes_of
from lthprune.compaction.survivors import survivors
from lthprune.errors import PruningError
from lthprune.pruning import without_pruning

Inputs = tuple[Tensor, ...]
KeptInputs = tuple[Tensor | None, ...]

_SAMPLES = 16  # random inputs that outputs are compared on, and as many
_LARGE = 10.0  # times as large, which wake neurons that are silent for small ones


@dataclass(frozen=True, eq=False)
class Compacted:
    """A smaller network that computes what a pruned one did, in evaluation mode; see ``compact``.

    Called with the inputs of the original, it computes its outputs.

    Attributes:
        model: an ordinary dense module, without masks and hooks.
        kept_inputs: of every input the features, counted after flattening, that ``model`` reads; None for all.
        report: sizes before and after.
    """

    model: nn.Module
    kept_inputs: KeptInputs
    report: CompactionReport

    def __call__(self, *inputs: Tensor) -> Any:
        """Compute what the original does of its inputs."""
        return self.model(*self.select(*inputs))

    def select(self, *inputs: Tensor) -> Inputs:
        """Return what ``model`` reads of the original's inputs: (batch, features kept) where some are dropped."""
        return _select(inputs, self.kept_inputs)

    def speedup(self, original: nn.Module, *inputs: Tensor, rounds: int = 11) -> float:
        """Measure how many times as long another model takes on these inputs; see ``measure_latency``.

        Inputs that are dropped are dropped before the clock starts.
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

    Comatose and unproductive neurons and channels go. So do those that hear no input: what they hand on is constant,
    and goes into the biases of those who hear it. A constant other than zero stays where a convolution hears it among
    zeros that it pads, or that is not the same at all positions. Channels that are added to each other go together or
    not at all, and a grouped convolution loses whole groups. Every layer keeps a neuron, and outputs all of theirs.
    Pruned weights between neurons that stay are zeros. A module that is called twice keeps its size.

    The smaller network is a copy of the model with smaller dense layers, convolutions and batch norms, so that its
    code, names and dtype are the model's own. It is traced again and compared with what it should be; a layer of which
    the code counts the neurons (``x.view(-1, 256)``, ``x.chunk(2)``) stays as it is.

    Args:
        model: dense or pruned; what ``torch.fx`` can trace, as for ``neuron_states``. Weights of zero count as pruned.
        inputs: an example for each input, (batch, ...), of which the shape alone counts; may be left out where the
            first layer is dense.
        drop_inputs: whether to drop the input features that nobody listens to as well, of networks that begin with a
            dense layer, flattened inputs or not.

    Raises:
        PruningError: the model cannot be traced or does something of which it is not known what it does to neurons;
            ``drop_inputs`` of a network that reads images as such.

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
    for name, tensor in dense.state_dict().items():
        if not tensor.isfinite().all():
            raise PruningError(f"{name!r} has values that are NaN or infinite, as after a training that diverged.")
    examples = example_inputs(dense, inputs)
    masks = {
        f"{name}.weight": module.weight != 0
        for name, module in dense.named_modules()
        if isinstance(module, nn.Linear | _ConvNd)
    }
    states = neuron_states(dense, examples, masks=masks)
    if drop_inputs:
        _check_droppable(states.graph, examples)
    original = _Original(dense, examples, states)
    attempt = original.attempt(drop_inputs, whole=())
    whole: tuple[str, ...] = ()
    if not attempt.same:  # the layers that have to stay as they are come out by letting go of one after another
        whole = original.losing(attempt.kept)
        for name in whole:
            fewer = tuple(each for each in whole if each != name)
            whole = fewer if original.attempt(drop_inputs, fewer).same else whole
        attempt = original.attempt(drop_inputs, whole)
    left = _select(examples, attempt.kept_inputs)
    before, after = sizes_of(dense, examples), sizes_of(attempt.model, left)
    report = CompactionReport(
        layers=tuple(LayerChange(name, size, after[name]) for name, size in before.items()),
        inputs=(_features(examples), _features(left)),
        whole=whole,
        difference=attempt.difference,
    )
    return Compacted(attempt.model.to(device), attempt.kept_inputs, report)


@dataclass(frozen=True, eq=False)
class _Attempt:
    """A network of which some neurons are left, and how it compares with the original."""

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

    def attempt(self, drop_inputs: bool, whole: Collection[str]) -> _Attempt:
        """Take out what can go, but for neurons of the layers that stay whole, and see what is computed then."""
        model = copy.deepcopy(self.model)
        kept = survivors(model, self.states, inputs=not drop_inputs, whole=whole)
        shrink(model, self.states, kept)
        own = [kept[layer.own] for layer in self.states.graph.layers if layer.kind == "input"]
        kept_inputs = tuple(None if bool(each.all()) else each.nonzero()[:, 0] for each in own)
        try:
            graph = trace_graph(model, _select(self.examples, kept_inputs))
        except PruningError:  # the code of the model counts on the sizes that were
            return _Attempt(model, kept, kept_inputs, False, torch.nan)
        difference, bound = self._difference(model, kept_inputs)
        same = difference <= bound and _is_rest(graph, self.states.graph, kept)
        return _Attempt(model, kept, kept_inputs, same, difference)

    def losing(self, kept: Tensor) -> tuple[str, ...]:
        """Return the layers that have neurons to lose."""
        layers = [layer for layer in self.states.graph.layers if layer.kind in ("input", *WEIGHTED)]
        return tuple(layer.name for layer in layers if not kept[layer.own].all())

    def _difference(self, model: nn.Module, kept_inputs: KeptInputs) -> tuple[float, float]:
        """Return the largest difference between the outputs on random inputs, and how large rounding may make it."""
        generator = torch.Generator().manual_seed(0)
        drawn = [torch.randn(_SAMPLES, *each.shape[1:], generator=generator).to(each) for each in self.examples]
        inputs = tuple(torch.cat([each, _LARGE * each]) for each in drawn)
        with torch.no_grad():
            pairs = zip(_tensors(self.model(*inputs)), _tensors(model(*_select(inputs, kept_inputs))), strict=True)
            compared = [(was.double(), now.double()) for was, now in pairs]
        difference = max(float((was - now).abs().max()) for was, now in compared)
        scale = max(float(was.abs().max()) for was, _ in compared)
        return difference, max(scale, 1.0) * torch.finfo(inputs[0].dtype).eps ** 0.5


def _check_droppable(graph: Graph, examples: Inputs) -> None:
    """Refuse to drop features of images that are read as such."""
    layers = [layer for layer in graph.layers if layer.kind == "input"]
    for read, example in zip(layers, examples, strict=True):
        images = [layer for layer in graph.layers if layer.kind != "dense" and _hears(layer, read)]
        if example.ndim > 2 and images:
            raise PruningError(
                f"drop_inputs: the input {read.name!r} of shape {tuple(example.shape)} is read by {images[0].name!r} "
                "as it is, and not by dense layers alone; it is no list of features to drop some of. Leave "
                "drop_inputs out."
            )


def _hears(layer: Layer, other: Layer) -> bool:
    return bool(((layer.heard >= other.neurons.start) & (layer.heard < other.neurons.stop)).any())


def _is_rest(graph: Graph, original: Graph, kept: Tensor) -> bool:
    """Say whether a graph is what is left of the original: the same neurons in the same places, but for the others."""
    number = kept.cumsum(0) - 1
    if [(layer.name, layer.kind) for layer in graph.layers] != [(layer.name, layer.kind) for layer in original.layers]:
        return False
    of = {place.name: place.to for place in graph.places}
    columns = [(now.heard, was.heard) for now, was in zip(graph.layers, original.layers, strict=True)]
    norms = [(of[place.name], place.to) for place in original.places if place.of is None]  # and biases
    return graph.size == int(kept.sum()) and all(
        torch.equal(now, number[was[kept[was]]]) for now, was in columns + norms
    )


def _select(inputs: Inputs, kept_inputs: KeptInputs) -> Inputs:
    return tuple(
        each if kept is None else each.flatten(1)[:, kept.to(each.device)]
        for each, kept in zip(inputs, kept_inputs, strict=True)
    )


def _features(inputs: Inputs) -> int:
    return sum(each[0].numel() for each in inputs)


def _tensors(outputs: Any) -> list[Tensor]:
    """Return the tensors of outputs, however they are packed."""
    if isinstance(outputs, Tensor):
        return [outputs]
    packed = outputs.values() if isinstance(outputs, Mapping) else outputs if isinstance(outputs, Sequence) else ()
    return [tensor for each in packed for tensor in _tensors(each)]
