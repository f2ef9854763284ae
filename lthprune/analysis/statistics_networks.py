"""Statistics networks of MINE, and the bound that they maximise."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

OutputActivation = Literal["elu", "linear"]
Variables = tuple[Tensor, Tensor]  # both of a pair, (samples, features)
_PAIRINGS = 100  # of all samples, which stand for independent ones in an evaluation
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


class StatisticsNetworks:
    """Statistics networks side by side, one for each pair; only their first layers differ in size.

    The first layer reads x and y by matrices of their own, so each sample passes through it once, however many
    partners it gets.

    Args:
        sizes: the number of features of x and of y of each pair.
        units: of each hidden layer.
        output: the activation of the output.
        noise: the standard deviations of the noise added to the inputs, and after each hidden layer.
        generators: of each pair, for its initial weights and its noise.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        units: int,
        output: OutputActivation,
        noise: tuple[float, float],
        generators: Sequence[torch.Generator],
    ) -> None:
        self._output, self._noise, self._generators = output, noise, generators
        first = [
            torch.split(_glorot(sum(own), units, each), [*own]) for own, each in zip(sizes, generators, strict=True)
        ]
        self._first = [(x.clone(), y.clone()) for x, y in first]
        self._second = torch.stack([_glorot(units, units, own) for own in generators])
        self._third = torch.stack([_glorot(units, 1, own) for own in generators])
        self._biases = [torch.zeros(len(sizes), 1, each) for each in (units, units, 1)]
        self.parameters = [*(each for own in self._first for each in own), self._second, self._third, *self._biases]
        for parameter in self.parameters:
            parameter.requires_grad_()

    def __call__(self, pairs: Sequence[Variables], shifts: Sequence[int]) -> Tensor:
        """Return the statistics of every pair with noise, as in training.

        Args:
            pairs: x and y of each, (samples, features).
            shifts: by how many places y is shifted against x; 0 leaves each sample with its own partner.

        Returns:
            (pairs, shifts, samples).
        """
        (outer, inner), own = self._noise, self._generators
        noisy = [(_noisy(x, outer, [each]), _noisy(y, outer, [each])) for (x, y), each in zip(pairs, own, strict=True)]
        x, y = self._read(noisy)
        found = self._statistics(torch.cat([x + y.roll(-shift, 1) for shift in shifts], 1), inner)
        return found.reshape(len(pairs), len(shifts), -1)

    @torch.no_grad()
    def bounds(self, pairs: Sequence[Variables]) -> Tensor:
        """Return the bound of Donsker and Varadhan of every pair, over all samples and several independent pairings."""
        x, y = self._read(pairs)
        samples = x.shape[1]
        joint = self._evaluated(x, y).mean(1, keepdim=True)
        pairings = range(1, min(samples, _PAIRINGS + 1))
        means = [self._evaluated(x, y.roll(-shift, 1)).logsumexp(1) - math.log(samples) for shift in pairings]
        return donsker_varadhan(joint, torch.stack(means, 1))

    def _read(self, pairs: Sequence[Variables]) -> tuple[Tensor, Tensor]:
        """Return what x and what y add to the first layer, (pairs, samples, units)."""
        products = [(x @ own[0], y @ own[1]) for (x, y), own in zip(pairs, self._first, strict=True)]
        x, y = (torch.stack(each) for each in zip(*products, strict=True))
        return x + self._biases[0], y

    def _statistics(self, first: Tensor, noise: float) -> Tensor:
        """Return the statistics (pairs, samples), given the sums of the first layer, (pairs, samples, units)."""
        hidden = _noisy(F.elu(first), noise, self._generators)
        hidden = _noisy(F.elu(torch.baddbmm(self._biases[1], hidden, self._second)), noise, self._generators)
        output = torch.baddbmm(self._biases[2], hidden, self._third)[..., 0]
        return F.elu(output) if self._output == "elu" else output

    def _evaluated(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the statistics (pairs, samples) without noise."""
        chunks = (slice(start, start + _CHUNK) for start in range(0, x.shape[1], _CHUNK))
        return torch.cat([self._statistics(x[:, at] + y[:, at], 0) for at in chunks], 1).double()


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
