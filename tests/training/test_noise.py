"""Networks that draw at random: found out by trying, and trained where their draws are their own."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthprune.errors import RecipeError
from lthprune.pruning.state import snapshot
from lthprune.training.dispatch import check_engine
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


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_networks_that_draw_train_in_the_plain_loop_and_others_do_not(rate: float) -> None:
    plan = TrainingPlan.model_validate(PLAN)
    done = train_population([dropping(rate), dropping(rate)], noise(), plan, drawn(0))
    assert [training.engine for training in done] == ["reference" if rate else "unhooked"] * 2


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


def test_the_unhooked_engine_is_refused_to_networks_that_draw_before_they_change() -> None:
    plan, model = TrainingPlan.model_validate(PLAN | {"engine": "unhooked"}), dropping()
    data, before = noise(), copy.deepcopy(model.state_dict())
    for refuse in (
        lambda: check_engine(model, plan, torch.device("cpu"), data.x_train[:2]),
        lambda: train_population([model], data, plan, drawn(0)[:1]),
    ):
        with pytest.raises(RecipeError, match=r'draw at random.*engine = "auto" or "reference"'):
            refuse()
    assert all_bits(model.state_dict()) == all_bits(before)
    check_engine(dropping(0.0), plan, torch.device("cpu"), data.x_train[:2])
