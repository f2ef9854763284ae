"""MINE: lower bounds of mutual information by statistics networks, which are trained side by side."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from lthprune.analysis.statistics_networks import OutputActivation, StatisticsNetworks, Variables
from lthprune.arguments import check_word, described, whole_number
from lthprune.errors import PruningError


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "input_noise": (lambda value: 0 <= value < math.inf, "0 or more"),
    "hidden_noise": (lambda value: 0 <= value < math.inf, "0 or more"),
    "lr": (lambda value: 0 < value < math.inf, "above 0"),
    "decay": (lambda value: 0 < value <= 1, "above 0, 1 at most"),
    "averaging": (lambda value: 0 < value <= 1, "above 0, 1 at most"),
    "held_out": (lambda value: 0 < value < 1, "above 0 and below 1"),
}


@dataclass(frozen=True)
class Mine:
    """The settings of MINE: the statistics network and its training.

    The network reads a sample of both variables and returns a number; it has two hidden layers of ELU units. The
    defaults are those of Belghazi et al. (2018, table 15) for MNIST, trained as by Alemi et al. (2017, appendix), in
    nats. Their noise blurs what the network reads while it trains, so estimates are low; ``PRECISE`` has none.

    Attributes:
        units: the number of units of each hidden layer.
        output: the activation of the output. ``"elu"`` is above -1, which bounds no estimate: the bound of Donsker and
            Varadhan does not change if a constant is added to every output. It only makes low ones slow to learn.
        input_noise: the standard deviation of Gaussian noise added to the standardised inputs, in training only.
        hidden_noise: that of the noise added after each hidden layer, in training only.
        lr: the learning rate of Adam, ``lr * decay ** (step / decay_steps)`` at a step, counted from 0.
        betas: of Adam.
        decay: as above.
        decay_steps: as above.
        batch_size: the number of samples of a step; an incomplete last batch of an epoch is dropped.
        partners: how many other samples' partners each sample of a step is paired with, for independent pairs; fewer
            than ``batch_size``. They cost only the layers after the first.
        epochs: passes over the samples.
        averaging: the weight of a step in the moving average of ``mean(exp(independent))`` that the gradient is divided
            by (Belghazi et al. 2018, section 3.2), above 0 and up to 1. With 1 it is that of the batch alone, which
            gives the gradient of the bound; less makes strong dependence less unstable.
        held_out: the fraction of the samples that the network is not trained on, above 0 and below 1.

    Raises:
        PruningError: a setting is out of its range.
    """

    units: int = 512
    output: OutputActivation = "elu"
    input_noise: float = 0.3
    hidden_noise: float = 0.5
    lr: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)
    decay: float = 0.97
    decay_steps: int = 1100
    batch_size: int = 100
    partners: int = 1
    epochs: int = 100
    averaging: float = 1.0
    held_out: float = 0.1

    def __post_init__(self) -> None:
        check_word("output activation", self.output, get_args(OutputActivation))
        lowest = {"units": 1, "decay_steps": 1, "batch_size": 2, "partners": 1, "epochs": 0}
        for name, least in lowest.items():
            if whole_number(name, getattr(self, name)) < least:
                raise PruningError(f"{name} = {getattr(self, name)}: this must be a whole number, {least} or more.")
        if self.partners >= self.batch_size:
            raise PruningError(f"partners = {self.partners}: a batch of {self.batch_size} has fewer other samples.")
        for name, (fits, words) in _RANGES.items():
            value = getattr(self, name)
            if not _is_number(value) or not fits(value):
                raise PruningError(f"{name} = {value!r}: this must be a number {words}.")
        pair = isinstance(self.betas, tuple | list) and len(self.betas) == 2
        if not pair or not all(_is_number(beta) and 0 <= beta < 1 for beta in self.betas):
            raise PruningError(f"betas = {self.betas!r}: these must be two numbers, 0 or more and below 1.")

    def steps(self, samples: int) -> int:
        """Return how many steps of training so many samples take."""
        return self.epochs * ((samples - self.test_samples(samples)) // self.batch_size)

    def test_samples(self, samples: int) -> int:
        """Return how many of the samples are held out, at least one."""
        return max(1, round(self.held_out * samples))

    def check_samples(self, samples: int) -> None:
        """Raise a PruningError unless so many samples are enough for a batch, and for the held-out ones."""
        held_out = self.test_samples(samples)
        if samples - held_out < self.batch_size or held_out < 2:
            raise PruningError(
                f"{samples:,} samples, of which {held_out:,} are held out, are too few for a batch of "
                f"{self.batch_size:,}. Take more samples or a smaller batch_size."
            )


PRECISE = Mine(
    units=128,
    input_noise=0,
    hidden_noise=0,
    lr=1.5e-3,
    betas=(0.9, 0.999),
    decay=0.5,
    decay_steps=1600,
    batch_size=100,
    partners=12,
    epochs=22,
    averaging=0.003,
)
"""Settings without noise. In 55,000 samples of Gaussians they found 96 % or more of up to 3.4 nats.

For so many samples, their learning rate ends at a hundredth of the first one. Stronger dependence needs more samples,
units and steps: of 6.7 nats, 440,000 samples, 256 units and 6 epochs found 95 %.
"""


class Bounds(NamedTuple):
    """Estimates of one statistics network, in nats, without noise.

    Attributes:
        held_out: on samples that it was not trained on: a lower bound, but for the error of the two means.
        trained: on as many of those that it was trained on, which is too high where the network memorised them.
    """

    held_out: float
    trained: float


def standardise(values: Tensor) -> Tensor:
    """Return a variable (samples, ...) as (samples, features), centred, and divided by one number for all features.

    That is the root of their mean variance, so features keep their proportions, and those that never vary stay zero.

    Examples:
        >>> standardise(torch.tensor([[0, 5], [4, 5]]))
        tensor([[-1.4142,  0.0000],
                [ 1.4142,  0.0000]])
    """
    flat = values.detach().reshape(len(values), -1).float()
    flat = flat - flat.mean(0)
    scale = float(flat.square().mean().sqrt())
    return flat / scale if scale > 0 else flat


def mine(
    pairs: Sequence[Variables],
    settings: Mine | None = None,
    *,
    generators: Sequence[torch.Generator],
    on_step: Callable[[], object] = lambda: None,
) -> list[Bounds]:
    """Estimate the mutual information of pairs of variables by MINE (Belghazi et al. 2018, algorithm 1), in nats.

    A statistics network for each pair is trained to maximise the bound of Donsker and Varadhan. Hidden layers of all
    networks are one batched product. Within a batch, whose order is random, each sample's partner is replaced by those
    of the next samples for independent pairs; so none keeps its own, unlike in a shuffle.

    Args:
        pairs: both variables of each pair, (samples, ...) with the same number of samples, on the CPU. They are
            standardised first; see ``standardise``.
        settings: network and training; the same for all pairs; by default ``Mine()``.
        generators: the generator of each pair: its samples held out, initial weights, batches and noise. So no estimate
            depends on the other pairs, but for the last digits.
        on_step: called after each step of the training of all pairs.

    Raises:
        PruningError: the variables of a pair differ in the number of samples, or there are too few for a batch.

    Examples:
        >>> generator = torch.Generator().manual_seed(0)
        >>> x, noise = torch.randn(2, 2000, 1, generator=generator)
        >>> settings = Mine(units=32, input_noise=0, hidden_noise=0, lr=1e-2, epochs=5)
        >>> (found,) = mine([(x, 0.6 * x + 0.8 * noise)], settings, generators=[generator])
        >>> 0.1 < found.held_out < 0.3  # -log(1 - 0.6 ** 2) / 2 = 0.22
        True
    """
    settings = settings or Mine()
    samples = _check(pairs, settings, generators)
    held_out = settings.test_samples(samples)
    once = {id(each): standardise(each) for pair in pairs for each in pair}
    variables = [(once[id(x)], once[id(y)]) for x, y in pairs]
    orders = [torch.randperm(samples, generator=own) for own in generators]
    networks = StatisticsNetworks(
        [(x.shape[1], y.shape[1]) for x, y in variables],
        settings.units,
        settings.output,
        (settings.input_noise, settings.hidden_noise),
        generators,
    )
    average: Tensor | None = None
    keep = math.log1p(-settings.averaging) if settings.averaging < 1 else -math.inf
    optimizer = torch.optim.Adam(networks.parameters, lr=settings.lr, betas=settings.betas, fused=True)
    for step, places in enumerate(_batches([order[held_out:] for order in orders], settings, generators)):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * settings.decay ** (step / settings.decay_steps)
        batches = _rows(variables, places)
        found = networks(batches, range(settings.partners + 1))
        joint, independent = found[:, 0], found[:, 1:].flatten(1)
        now = independent.detach().logsumexp(1) - math.log(independent.shape[1])  # log(mean(exp(independent)))
        average = now if average is None else torch.logaddexp(average + keep, now + math.log(settings.averaging))
        gain = joint.mean(1) - (independent - average[:, None]).exp().mean(1)  # the bound's gradient, if average is now
        optimizer.zero_grad()
        (-gain.sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        on_step()
    parts = ([order[:held_out] for order in orders], [order[held_out : 2 * held_out] for order in orders])
    final = [networks.bounds(_rows(variables, places)).tolist() for places in parts]
    return [Bounds(*each) for each in zip(*final, strict=True)]


def _rows(pairs: Sequence[Variables], places: Sequence[Tensor]) -> list[Variables]:
    """Return the samples at some places of each pair."""
    return [(x[own], y[own]) for (x, y), own in zip(pairs, places, strict=True)]


def _batches(
    places: Sequence[Tensor], settings: Mine, generators: Sequence[torch.Generator]
) -> Iterator[Sequence[Tensor]]:
    """Yield the places of the samples of each step, for every pair; each epoch has a random order."""
    for _ in range(settings.epochs):
        orders = [own[torch.randperm(len(own), generator=each)] for own, each in zip(places, generators, strict=True)]
        for start in range(0, len(orders[0]) - settings.batch_size + 1, settings.batch_size):
            yield [order[start : start + settings.batch_size] for order in orders]


def _check(pairs: Sequence[Variables], settings: Mine, generators: Sequence[torch.Generator]) -> int:
    """Return the number of samples."""
    if len(pairs) == 0 or len(pairs) != len(generators):
        raise PruningError(
            f"mine() needs pairs and one generator for each; it was given {len(pairs)} and {len(generators)}."
        )
    for place, pair in enumerate(pairs):
        if not all(isinstance(each, Tensor) for each in pair):
            raise PruningError(
                f"pair {place}: variables are tensors (samples, ...); not {' and '.join(map(described, pair))}."
            )
    sizes = {len(each) for pair in pairs for each in pair}
    if len(sizes) > 1:
        raise PruningError(f"all variables need the same number of samples; these have {sorted(sizes)}.")
    (samples,) = sizes
    settings.check_samples(samples)
    return samples
