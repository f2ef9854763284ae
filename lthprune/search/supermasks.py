"""Supermasks: masks that are trained, of weights that are not (Zhou et al. 2019, section 5)."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lthprune.arguments import check_module
from lthprune.errors import PruningError
from lthprune.pruning import Masks, Pruning, Selection, State, first_names, snapshot
from lthprune.search.controls import constant_magnitudes
from lthprune.search.tickets import Ticket


class Supermask(nn.Module):
    """A network whose weights stay as they are while its masks are trained, by any training loop.

    Each prunable weight has a trainable score m and remains with the probability sigmoid(m). Every forward pass draws a
    mask, in evaluation mode too, and the gradient treats it as if it were sigmoid(m) (a straight-through estimator). So
    ``masks`` and ``ticket`` return one draw of many. The scores are the only parameters with gradients; buffers change
    as the network changes them.

    Args:
        model: dense; a copy of it is masked, and it stays as it is.
        density: the probability at the start that a weight remains, in (0, 1); the authors start with one half.
        rescale: multiply each tensor by its number of weights over its number of remaining weights, in every forward
            pass: the authors' dynamic weight rescaling.
        constant: first replace the weights by ``sign(w)`` times the standard deviation of their tensor.
        selection: which layers are prunable.
        generator: on the CPU; draws the masks. By default torch's generator.

    Raises:
        PruningError: the density is out of range, the model is pruned already, or nothing in it is prunable.

    Examples:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, -1.0]]))
        >>> learner = Supermask(layer, rescale=False)
        >>> optimizer = torch.optim.SGD(learner.parameters(), lr=50)
        >>> for step in range(100):  # the best mask keeps the first weight and prunes the second
        ...     loss = (learner(torch.ones(1, 2)) - 1).square().sum()
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     optimizer.step()
        >>> learner.masks()
        {'weight': tensor([[ True, False]])}
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        density: float = 0.5,
        rescale: bool = True,
        constant: bool = False,
        selection: Selection | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_module(model)
        if not 0 < density < 1:
            raise PruningError(f"density = {density}: the first probability of a weight is above 0 and below 1.")
        pruning = Pruning(selection=selection or Selection())
        self._names = tuple(tensor.name for tensor in pruning.tensors(model))
        if not set(self._names) <= model.state_dict().keys() or any(t.mask is not None for t in pruning.tensors(model)):
            raise PruningError("a Supermask needs a dense model; this one is pruned. Pass a model without masks.")
        self.network = copy.deepcopy(model).requires_grad_(requires_grad=False)
        if constant:
            parameters = dict(self.network.named_parameters())
            for name, values in constant_magnitudes({name: parameters[name] for name in self._names}).items():
                parameters[name].copy_(values)
        start = math.log(density / (1 - density))
        weights = dict(self.network.named_parameters())
        self.scores = nn.ParameterList(torch.full_like(weights[name], start) for name in self._names)
        self._rescale, self._generator = rescale, generator

    def forward(self, *inputs: Any, **words: Any) -> Any:
        """Call the masked network."""
        weights = dict(self.network.named_parameters())
        masked = {
            name: _scaled(weights[name] * mask, mask, self._rescale)
            for name, mask in zip(self._names, map(self._mask, self.scores), strict=True)
        }
        return functional_call(self.network, masked, inputs, words)

    def _mask(self, scores: Tensor) -> Tensor:
        chances = scores.sigmoid()
        return self._draw(chances).to(chances.dtype) + chances - chances.detach()

    def _draw(self, chances: Tensor) -> Tensor:
        return torch.rand(chances.shape, generator=self._generator).to(chances.device) < chances

    def masks(self) -> Masks:
        """Draw masks."""
        with torch.no_grad():
            return {name: self._draw(scores.sigmoid()) for name, scores in zip(self._names, self.scores, strict=True)}

    def ticket(self) -> Ticket:
        """Draw masks, and return them with the network's weights, rescaled, as a ticket of level 1."""
        masks, state = self.masks(), snapshot(self.network)
        masked = {name: first for name, first in first_names(self.network).items() if first in masks}
        scaled: State = {
            name: _scaled(state[name], masks[first].to(state[name]), self._rescale) for name, first in masked.items()
        }
        trained = state | {name: scaled[name] * masks[first].to(scaled[name]) for name, first in masked.items()}
        tied = {name: first for name, first in masked.items() if name != first}
        return Ticket(1, masks, state | scaled, trained, provenance={"driver": "supermask"}, tied=tied)


def _scaled(weights: Tensor, mask: Tensor, rescale: bool) -> Tensor:
    """Return weights times the size of their mask over the number of its ones, if that is asked for."""
    return weights * (mask.numel() / mask.sum().clamp(min=1)) if rescale else weights
