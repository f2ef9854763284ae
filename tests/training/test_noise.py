"""Networks that draw at random: found out by trying, and trained with draws of their own."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthprune.pruning.state import snapshot
from lthprune.training.noise import draws_at_random
from lthprune.training.plan import TrainingPlan
from lthprune.training.population import train_population
from tests.nets import all_bits, anatomy, net
from tests.tiny import noise

PLAN = {"optimizer": "sgd", "lr": 0.1, "batch_size": 8, "steps": 4, "evaluate_every": 2}


class Functional(nn.Module):
    """Dropout that no module of the network tells of."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.dense, self.rate = nn.Linear(16, 3), rate

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.dense(x.flatten(1)), self.rate, self.training)


def dropping(rate: float = 0.5, seed: int = 0) -> nn.Module:
    return nn.Sequential(net("normalised", seed), nn.Dropout(rate))


def drawn(seed: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + trial) for trial in range(2)]


@pytest.mark.parametrize(
    ("model", "draws"),
    [
        (net("normalised"), False),
        (dropping(0.0), False),
        (dropping(0.1), True),
        (Functional(0.0), False),
        (Functional(0.5), True),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.RReLU()), True),
    ],
)
def test_whether_a_network_draws_is_found_out_and_nothing_of_it_changes(model: nn.Module, draws: bool) -> None:
    model[0].eval() if isinstance(model, nn.Sequential) else model.eval()
    modes = [module.training for module in model.modules()]
    before, state = anatomy(model), torch.get_rng_state()
    assert draws_at_random(model, torch.randn(2, 1, 4, 4, generator=drawn(0)[0])) == draws
    assert anatomy(model) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("form", ["images", "vectors"])
@pytest.mark.parametrize("start", [0, 2])
def test_every_trial_draws_without_hooks_what_it_draws_in_the_plain_loop(form: str, start: int) -> None:
    def network(seed: int) -> nn.Module:
        body = net("normalised", seed).double()
        if form == "vectors":
            return nn.Sequential(*body, nn.Dropout(0.5))
        return nn.Sequential(*body[:2], nn.Dropout(0.5), *body[2:])  # of (n, C, H, W)

    data, words = noise(), {"steps": 6, "patience": 1}
    data = replace(data, x_train=data.x_train.double(), x_val=data.x_val.double(), x_test=data.x_test.double())
    trained = {}
    for engine in ("reference", "auto"):
        models = [network(trial) for trial in range(3)]
        before = torch.get_rng_state()
        orders, noises = ([torch.Generator().manual_seed(seed + trial) for trial in range(3)] for seed in (0, 9))
        plan = TrainingPlan.model_validate(PLAN | words | {"engine": engine})
        done = train_population(models, data, plan, orders, noises=noises, start=start)
        assert torch.equal(torch.get_rng_state(), before)
        trained[engine] = [snapshot(model) for model in models]
    assert {each.engine for each in done} == {"unhooked"}
    for found, expected in zip(trained["auto"], trained["reference"], strict=True):
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-8, atol=1e-10)


def test_given_generators_determine_the_draws_of_a_trial_and_the_global_one_does_not_change() -> None:
    plan = TrainingPlan.model_validate(PLAN)

    def trained(seed: int, trials: int = 2) -> list[object]:
        models = [dropping(seed=trial) for trial in range(trials)]
        train_population(models, noise(), plan, drawn(0)[:trials], noises=drawn(seed)[:trials])
        return [all_bits(snapshot(model)) for model in models]

    before = torch.get_rng_state()
    first = trained(5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert trained(5) == first
    assert trained(5, trials=1) == first[:1]
    assert trained(6) != first
