"""Criteria that need no training: scores from gradients, data and a loss.

Each function computes scores for all parameters of a model and returns them as a score function, for ``prune`` and
wherever else a criterion goes. The model stays as it is: parameters, gradients, buffers and modes. Dropout draws from
torch's own generator.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lthprune.arguments import check_module
from lthprune.errors import PruningError
from lthprune.pruning.scores import Candidate, Score
from lthprune.pruning.state import live_state, modes_restored, snapshot

Batches = Iterable[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


def snip(model: nn.Module, batches: Batches, loss: Loss = F.cross_entropy) -> Score:
    """Return scores by connection sensitivity: ``|w dL/dw|`` (Lee et al. 2019, SNIP, equations 4 to 6).

    The gradient is the sum over the batches. The paper divides all scores by their sum, which changes no order.

    Args:
        model: called in its present mode; the paper scores in training mode.
        batches: inputs and targets, on the model's device.
        loss: of outputs and targets.

    Examples:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> _ = nn.init.ones_(layer.weight)
        >>> score = snip(layer, [(torch.tensor([[3.0, 0.0]]), torch.tensor([0]))])
        >>> score(Candidate("weight", layer.weight))
        tensor([[1.5000, 0.0000],
                [1.5000, 0.0000]])
    """
    copies = _Copies(model)
    gradients = copies.gradients(loss(copies(inputs), targets) for inputs, targets in batches)
    return copies.score([abs(value * own) for value, own in zip(copies.values, gradients, strict=True)])


def grasp(model: nn.Module, batches: Batches, loss: Loss = F.cross_entropy, *, temperature: float = 200) -> Score:
    """Return scores by what a weight does for the gradient flow: ``w (Hg)`` (Wang et al. 2020, GraSP, equation 8).

    Kept are the weights whose removal would reduce the norm of the gradient most. ``g`` is the gradient of the loss and
    ``H`` its Hessian, both summed over the batches.

    Args:
        model: called in its present mode, twice for each batch; it needs second derivatives.
        batches: inputs and targets, on the model's device; they are read twice, so a list rather than an iterator.
        loss: of outputs and targets.
        temperature: divides the outputs before the loss, 200 in the authors' code.

    Examples:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(layer.weight, 3)
        >>> data = [(torch.tensor([[1.0]]), torch.tensor([[1.0]]))]  # L = (w - 1)^2: g = 4, H = 2
        >>> grasp(layer, data, F.mse_loss, temperature=1)(Candidate("weight", layer.weight))
        tensor([[24.]])
    """
    if temperature <= 0:
        raise PruningError(f"temperature = {temperature}: this must be a number above 0.")
    copies, batches = _Copies(model), list(batches)

    def losses() -> Iterator[Tensor]:
        return (loss(copies(inputs) / temperature, targets) for inputs, targets in batches)

    def flows() -> Iterator[Tensor]:
        for own_loss in losses():
            found = copies.gradients([own_loss], twice=True)
            flow = sum((own * total).sum() for own, total in zip(found, gradients, strict=True))
            assert isinstance(flow, Tensor)
            yield flow

    gradients = copies.gradients(losses())
    products = copies.gradients(flows())
    return copies.score([value * own for value, own in zip(copies.values, products, strict=True)])


def synflow(model: nn.Module, example: Tensor) -> Score:
    """Return scores by synaptic flow: ``w dR/dw`` of the model with absolute weights (Tanaka et al. 2020, equation 2).

    ``R`` is the sum of the outputs for an input of ones, computed in double precision and evaluation mode. It needs no
    data. One round of it disconnects layers, as the paper shows; use it with ``prune_in_rounds``. Biases other than
    zero carry flow, too, so that layers before them may be cut off.

    Args:
        model: any module that computes with floats.
        example: an input; its shape and device are used, with one sample.

    Examples:
        >>> model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False))
        >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0], [-2.0]])), model[1].weight.data.fill_(3)
        >>> synflow(model, torch.zeros(1, 1))(Candidate("0.weight", model[0].weight))  # |1 * 3|, |-2 * 3|
        tensor([[3.],
                [6.]], dtype=torch.float64)
    """
    with modes_restored(model):
        model.eval()
        copies = _Copies(model, lambda tensor: abs(tensor.double()) if tensor.is_floating_point() else tensor)
        flow = copies(torch.ones_like(example[:1], dtype=torch.float64)).sum()
    found = copies.gradients([flow])
    return copies.score([value * own for value, own in zip(copies.values, found, strict=True)])


def wanda(model: nn.Module, batches: Iterable[Tensor]) -> Score:
    """Return scores by weight and activation: ``|w_ij| ||x_j||`` (Sun et al. 2024, Wanda, equation 1).

    ``x_j`` are all values of an input feature of a layer, over samples and positions. The paper compares the weights of
    each output alone; here they compete in the scope of the pruning, where ``"layerwise"`` is nearest to it.

    Args:
        model: called in evaluation mode; the weights of its linear layers and convolutions have scores.
        batches: inputs, on the model's device.

    Examples:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[-1.0, 2.0]]))
        >>> wanda(layer, [torch.tensor([[3.0, 1.0], [4.0, 0.0]])])(Candidate("weight", layer.weight))
        tensor([[5., 2.]])
    """
    check_module(model)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, _MULTIPLYING)}
    positions = {name: max(0, layer.weight.ndim - 2) for name, layer in layers.items()}  # axes after the features
    squares: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            features = inputs[0].detach()
            axis = features.ndim - positions[name] - 1
            others = [each for each in range(features.ndim) if each != axis]
            squares[name] = squares.get(name, 0) + features.square().sum(others)

        return add

    handles = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    try:
        with modes_restored(model), torch.no_grad():
            model.eval()
            for inputs in batches:
                model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    state = snapshot(model)
    scores = {}
    for name, square in squares.items():
        weight = f"{name}.weight" if name else "weight"
        norms = square.sqrt().reshape(getattr(layers[name], "groups", 1), -1)  # (groups, inputs of each)
        rows = norms.repeat_interleave(len(state[weight]) // len(norms), 0)
        scores[weight] = abs(state[weight]) * rows.reshape(*rows.shape, *[1] * (state[weight].ndim - 2))
    return _Given(scores, "wanda")


_MULTIPLYING = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _Copies:
    """A model called with copies of its parameters and buffers, so that it stays as it is."""

    def __init__(self, model: nn.Module, change: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> None:
        check_module(model)
        plain: dict[int, str] = {}
        for name, tensor in live_state(model).items():
            plain.setdefault(id(tensor), name)
        parameters = dict(model.named_parameters())
        self._model = model
        self._names = [plain[id(parameter)] for parameter in parameters.values()]
        self.values = [change(each.detach().clone()).requires_grad_() for each in parameters.values()]
        self._tensors = dict(zip(parameters, self.values, strict=True))
        self._tensors |= {name: change(buffer.clone()) for name, buffer in model.named_buffers()}

    def __call__(self, inputs: Tensor) -> Tensor:
        output: Tensor = functional_call(self._model, self._tensors, (inputs,))
        return output

    def gradients(self, numbers: Iterable[Tensor], *, twice: bool = False) -> list[Tensor]:
        """Return the gradient of a sum of numbers in each parameter; zeros where it does not depend on it."""
        totals = [torch.zeros_like(value) for value in self.values]
        for number in numbers:  # one graph at a time
            found = torch.autograd.grad(number, self.values, allow_unused=True, create_graph=twice)
            totals = [total if own is None else total + own for total, own in zip(totals, found, strict=True)]
        return totals

    def score(self, scores: Iterable[Tensor]) -> Score:
        """Return a score function, given a tensor of scores for each parameter."""
        return _Given({name: own.detach() for name, own in zip(self._names, scores, strict=True)}, "sensitivity")


class _Given:
    """A score function that returns scores computed before."""

    def __init__(self, scores: Mapping[str, Tensor], name: str) -> None:
        self._scores = scores
        self.__qualname__ = name

    def __call__(self, candidate: Candidate) -> Tensor:
        if candidate.name not in self._scores:
            raise PruningError(f"{candidate.name!r} has no score: it was computed for {', '.join(self._scores)}.")
        return self._scores[candidate.name]
