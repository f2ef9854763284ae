"""Statistics networks of MINE, and the bound that they maximise."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

OutputActivation = Literal["elu", "linear"]
_SHIFTS = 30  # pairings of all samples that stand for independent ones in an evaluation
_CHUNK = 1000  # samples that are evaluated at a time


def donsker_varadhan(joint: Tensor, independent: Tensor) -> Tensor:
    """Return the bound of Donsker and Varadhan: ``mean(joint) - log(mean(exp(independent)))``, in nats.

    It is the objective of MINE (Belghazi et al. 2018, equation 5).

    Args:
        joint: (..., n), what a statistics network returns for samples of both variables.
        independent: (..., m), what it returns for samples of one with another sample's partner.

    Examples:
        >>> donsker_varadhan(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]))
        tensor(2.)
    """
    return joint.mean(-1) - (independent.logsumexp(-1) - math.log(independent.shape[-1]))


def paired(x: Tensor, y: Tensor, shift: int = 0) -> Tensor:
    """Return what a statistics network reads: each sample of x beside the y of the sample so many places further on."""
    return torch.cat([x, y.roll(-shift, 0)], 1)


class StatisticsNetworks:
    """Statistics networks side by side, one for each pair; only their first layers differ in size.

    Args:
        sizes: the number of features of both variables of each pair.
        units: of each hidden layer.
        output: the activation of the output.
        noise: the standard deviations of the noise added to the inputs and after each hidden layer.
        generators: of each pair, for its initial weights and its noise.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        units: int,
        output: OutputActivation,
        noise: tuple[float, float],
        generators: Sequence[torch.Generator],
    ) -> None:
        self._output, self._noise, self._generators = output, noise, generators
        self._first = [_glorot(size, units, own) for size, own in zip(sizes, generators, strict=True)]
        self._second = torch.stack([_glorot(units, units, own) for own in generators])
        self._third = torch.stack([_glorot(units, 1, own) for own in generators])
        self._biases = [torch.zeros(len(sizes), 1, each) for each in (units, units, 1)]
        self.parameters = [*self._first, self._second, self._third, *self._biases]
        for parameter in self.parameters:
            parameter.requires_grad_()

    def __call__(self, inputs: Sequence[Tensor], *, noisy: bool = False) -> Tensor:
        """Return the statistics (pairs, samples) of the samples (samples, features) of every pair."""
        (outer, inner), own = self._noise if noisy else (0, 0), self._generators
        inputs = [_noisy(each, outer, [own[place]]) for place, each in enumerate(inputs)]
        products = [each @ weights for each, weights in zip(inputs, self._first, strict=True)]
        hidden = _noisy(F.elu(torch.stack(products) + self._biases[0]), inner, own)
        hidden = _noisy(F.elu(torch.baddbmm(self._biases[1], hidden, self._second)), inner, own)
        output = torch.baddbmm(self._biases[2], hidden, self._third)[..., 0]
        return F.elu(output) if self._output == "elu" else output

    @torch.no_grad()
    def bounds(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the bound of Donsker and Varadhan of every pair, over all samples and several independent pairings."""
        samples = len(pairs[0][0])
        shifts = range(min(samples, _SHIFTS + 1))  # 0: joint samples
        found = []
        for shift in shifts:
            inputs = [paired(x, y, shift) for x, y in pairs]
            chunks = [slice(start, start + _CHUNK) for start in range(0, samples, _CHUNK)]
            found.append(torch.cat([self([each[at] for each in inputs]) for at in chunks], 1))
        joint, *independent = (each.double() for each in found)
        return donsker_varadhan(joint, torch.cat(independent, 1))


def _glorot(inputs: int, outputs: int, generator: torch.Generator) -> Tensor:
    """Return weights (inputs, outputs) of Glorot's uniform distribution, the default of Keras."""
    limit = math.sqrt(6 / (inputs + outputs))
    return torch.empty(inputs, outputs).uniform_(-limit, limit, generator=generator)


def _noisy(values: Tensor, deviation: float, generators: Sequence[torch.Generator]) -> Tensor:
    """Add Gaussian noise to values (samples, features) of one pair or, of several, (pairs, samples, features)."""
    if deviation == 0:
        return values
    drawn = [torch.randn(values.shape[-2:], generator=own) for own in generators]
    return values + deviation * (torch.stack(drawn) if values.ndim > 2 else drawn[0])
