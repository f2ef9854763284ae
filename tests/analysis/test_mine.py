"""MINE against its readable twin, values by hand, and Gaussians whose mutual information is known."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lthprune.analysis.mine import Bounds, Mine, mine, standardise
from lthprune.analysis.statistics_networks import donsker_varadhan
from lthprune.errors import PruningError
from results.gaussians import CASES, Case, estimate

NEAR: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}
SMALL = Mine(units=12, batch_size=20, epochs=3, lr=1e-3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussians(features: int, correlation: float, samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two Gaussian variables whose features are correlated one by one."""
    x, noise = torch.randn(2, samples, features, generator=generator(seed))
    return x, correlation * x + math.sqrt(1 - correlation**2) * noise


class Noise(nn.Module):
    """Keras' GaussianNoise."""

    def __init__(self, deviation: float, own: torch.Generator) -> None:
        super().__init__()
        self.deviation, self.own = deviation, own

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.deviation == 0:
            return x
        return x + self.deviation * torch.randn(x.shape, generator=self.own)


def twin(x: Tensor, y: Tensor, settings: Mine, own: torch.Generator) -> Bounds:
    """MINE of a single pair, as one would write it down."""
    x, y = standardise(x), standardise(y)
    held_out, size = round(settings.held_out * len(x)), settings.batch_size
    order = torch.randperm(len(x), generator=own)
    units = settings.units
    layers = [nn.Linear(x.shape[1] + y.shape[1], units), nn.Linear(units, units), nn.Linear(units, 1)]
    for layer in layers:
        limit = math.sqrt(6 / (layer.in_features + layer.out_features))
        layer.weight.data = torch.empty(layer.in_features, layer.out_features).uniform_(-limit, limit, generator=own).T
        nn.init.zeros_(layer.bias)
    outer, inner = settings.input_noise, settings.hidden_noise
    blurred = Noise(outer, own)
    network = nn.Sequential(layers[0], nn.ELU(), Noise(inner, own), layers[1], nn.ELU(), Noise(inner, own), layers[2])
    network.append(nn.ELU() if settings.output == "elu" else nn.Identity())
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr, betas=settings.betas)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: settings.decay ** (k / settings.decay_steps))
    mean: Tensor | None = None
    for _ in range(settings.epochs):
        shuffled = order[held_out:][torch.randperm(len(x) - held_out, generator=own)]
        for batch in shuffled.split(size):
            if len(batch) < size:
                break
            near, far = blurred(x[batch]), blurred(y[batch])
            shifted = [torch.cat([near, far.roll(-shift, 0)], 1) for shift in range(settings.partners + 1)]
            joint, independent = network(torch.cat(shifted))[:, 0].split([size, settings.partners * size])
            now = independent.detach().exp().mean()
            mean = (1 - settings.averaging) * mean + settings.averaging * now if mean is not None else now
            optimizer.zero_grad()
            bound = joint.mean() - independent.exp().mean().log()
            corrected = joint.mean() - independent.exp().mean() / mean
            (-(bound if settings.averaging == 1 else corrected)).backward()
            optimizer.step()
            schedule.step()
    network.eval()

    def evaluated(places: Tensor) -> float:
        def statistics(shift: int) -> Tensor:
            return network(torch.cat([x[places], y[places].roll(-shift, 0)], 1))[:, 0].detach().double()

        independent = torch.cat([statistics(shift) for shift in range(1, min(101, len(places)))])
        return float(statistics(0).mean() - independent.exp().mean().log())

    return Bounds(evaluated(order[:held_out]), evaluated(order[held_out : 2 * held_out]))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"output": "linear"},
        {"input_noise": 0, "hidden_noise": 0},
        {"decay": 0.5, "decay_steps": 3},
        {"averaging": 0.3},
        {"partners": 3, "averaging": 0.3},
    ],
)
def test_networks_side_by_side_give_what_each_gives_by_itself(changes: dict[str, Any]) -> None:
    settings = Mine(**{**vars(SMALL), **changes})
    pairs = [gaussians(features, 0.8, 300, seed=features) for features in (1, 3, 7)]
    found = mine(pairs, settings, generators=[generator(seed) for seed in range(3)])
    for place, (pair, own) in enumerate(zip(pairs, found, strict=True)):
        torch.testing.assert_close(torch.tensor(own), torch.tensor(twin(*pair, settings, generator(place))), **NEAR)
        (alone,) = mine([pair], settings, generators=[generator(place)])
        torch.testing.assert_close(torch.tensor(own), torch.tensor(alone), **NEAR)


def test_the_bound_is_that_of_donsker_and_varadhan_and_ignores_an_added_constant() -> None:
    joint, independent = torch.tensor([[2.0, 4.0], [0.0, 1.0]]), torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    expected = torch.tensor([3 - math.log((1 + 3) / 2), 0.5])
    torch.testing.assert_close(donsker_varadhan(joint, independent), expected)
    torch.testing.assert_close(donsker_varadhan(joint + 7, independent + 7), expected)


def test_the_same_generators_give_the_same_estimates_and_torchs_own_generator_stays_as_it_is() -> None:
    pair, before = gaussians(2, 0.8, 200), torch.get_rng_state()
    first, again, other = (mine([pair], SMALL, generators=[generator(seed)]) for seed in (5, 5, 6))
    assert first == again != other
    assert torch.get_rng_state().equal(before)


def test_the_scale_and_the_shift_of_a_variable_do_not_matter() -> None:
    x, y = gaussians(3, 0.8, 300)
    (one,), (other,) = (mine([pair], SMALL, generators=[generator()]) for pair in ((x, y), (x, 1000 * y - 7)))
    torch.testing.assert_close(torch.tensor(one), torch.tensor(other), **NEAR)


QUICK = Mine(units=64, input_noise=0, hidden_noise=0, lr=3e-3, betas=(0.9, 0.999), batch_size=250, epochs=20)


def test_independent_variables_share_nothing_and_correlated_gaussians_what_the_formula_says() -> None:
    cases = [(10, 0.0), (10, 0.7)]
    found = mine([gaussians(*case, 10_000) for case in cases], QUICK, generators=[generator(), generator(1)])
    assert -0.2 < found[0].held_out < 0.02  # below 0: the network has learned the other samples by heart
    assert 0.7 * Case(*cases[1]).truth < found[1].held_out < 1.05 * Case(*cases[1]).truth


def test_noise_lowers_the_estimate() -> None:
    noisy = Mine(**{**vars(QUICK), "input_noise": 0.3, "hidden_noise": 0.5, "epochs": 5})
    clear = Mine(**{**vars(QUICK), "epochs": 5})
    pair = gaussians(3, 0.95, 10_000)
    (low,), (high,) = (mine([pair], settings, generators=[generator()]) for settings in (noisy, clear))
    assert low.held_out < 0.9 * high.held_out < Case(3, 0.95).truth


@pytest.mark.heavy
@pytest.mark.parametrize("case", [CASES[0], CASES[4]], ids=["weak", "strong"])
def test_mine_comes_within_a_tenth_of_the_truth_on_gaussians(case: Case) -> None:
    fraction = estimate(case, trial=0)["mine"] / case.truth
    print(fraction)  # shown by pytest -s
    assert 0.9 < fraction < 1.1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"output": "relu"}, "unknown output activation 'relu'"),
        ({"units": 0}, r"units = 0: this must be a whole number, 1 or more"),
        ({"batch_size": 1}, r"batch_size = 1: this must be a whole number, 2 or more"),
        ({"partners": 0}, r"partners = 0: this must be a whole number, 1 or more"),
        ({"partners": 100}, r"partners = 100: a batch of 100 has fewer other samples"),
        ({"input_noise": -1}, r"input_noise = -1: this must be a number 0 or more"),
        ({"lr": 0}, r"lr = 0: this must be a number above 0\."),
        ({"averaging": 2}, r"averaging = 2: this must be a number above 0, 1 at most"),
        ({"lr": "0.1"}, r"lr = '0.1': this must be a number above 0\."),
        ({"decay": True}, r"decay = True: this must be a number above 0, 1 at most"),
        ({"betas": (0.5, 1)}, r"betas = \(0.5, 1\): these must be two numbers, 0 or more and below 1"),
        ({"betas": (0.5, "b")}, r"betas = \(0.5, 'b'\): these must be two numbers"),
        ({"betas": 0.5}, r"betas = 0.5: these must be two numbers"),
        ({"held_out": 1}, r"held_out = 1: this must be a number above 0 and below 1"),
    ],
)
def test_settings_out_of_range_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(PruningError, match=message):
        Mine(**words)


def test_too_few_or_unequal_samples_are_refused() -> None:
    x = torch.zeros(50, 2)
    with pytest.raises(PruningError, match="50 samples, of which 5 are held out, are too few for a batch of 100"):
        mine([(x, x)], generators=[generator()])
    with pytest.raises(PruningError, match=r"same number of samples; these have \[40, 50\]"):
        mine([(x, x[:40])], SMALL, generators=[generator()])
    with pytest.raises(PruningError, match="one generator for each; it was given 1 and 2"):
        mine([(x, x)], SMALL, generators=[generator()] * 2)
